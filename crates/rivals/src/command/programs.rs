//! The programs of the servers, beside this one, and running turns in them.

use std::env;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rivals::program::Description;
use rivals::{Order, Outcome, Problem};

/// Programs that may be beside this one.
const OTHERS: [&str; 2] = ["rivals-boring", "rivals-openssl"];

/// A turn that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(40);

/// A server and the program that has it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) server: Description,
    program: PathBuf,
}

/// The servers of all programs that were built, those of this program first and Layby last.
pub(crate) fn servers() -> Result<Vec<Found>, Problem> {
    let own = env::current_exe()?;
    let beside = OTHERS.iter().map(|name| own.with_file_name(name)).filter(|path| path.exists());
    let mut all = Vec::new();
    for program in [own.clone()].into_iter().chain(beside) {
        let described =
            Command::new(&program).arg("--describe").stderr(Stdio::inherit()).output()?;
        if !described.status.success() {
            return Err(format!("{} --describe: {}", program.display(), described.status).into());
        }
        for line in String::from_utf8_lossy(&described.stdout).lines() {
            all.push(Found { server: serde_json::from_str(line)?, program: program.clone() });
        }
    }
    all.sort_by_key(|found| found.server.is_layby);
    Ok(all)
}

impl Found {
    /// Takes one turn.
    pub(crate) fn turn(&self, order: &Order) -> Result<Outcome, Problem> {
        let order = serde_json::to_string(order)?;
        let mut command = Command::new(&self.program);
        command.args(["--turn", &order]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, begun) = (command.spawn()?, Instant::now());
        // Read at once: a program that cannot write its complaints does not end.
        let mut complaints = child.stderr.take().expect("it is piped");
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            // What could be read is all that can be told.
            let _ = complaints.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let ended = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if begun.elapsed() > LONGEST => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut text = String::new();
        child.stdout.take().expect("it is piped").read_to_string(&mut text)?;
        let complaint = complaints.join().unwrap_or_default();
        // Said in full, it is valid however the program ended: its server's threads go on while exit handlers run, and those of
        // a library may abort beside them.
        match (ended, serde_json::from_str(&text)) {
            (None, _) => Err(format!("no result after {} s", LONGEST.as_secs()).into()),
            (Some(_), Ok(outcome)) => Ok(outcome),
            (Some(status), Err(_)) => {
                let last = complaint.lines().last().unwrap_or("it said nothing");
                Err(format!("{status}: {last}").into())
            }
        }
    }
}
