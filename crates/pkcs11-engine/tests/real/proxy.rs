//! A token behind p11-kit-server, in another process: it can be stalled, killed and started again, as no module in this process
//! can.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pkcs11_engine::{Ended, Token};

use crate::crowd::Crowd;
use crate::log::Lines;
use crate::world::{World, in_own_process, is_there};

const LONG: Duration = Duration::from_secs(60);

/// The deadline where a server does not answer.
const STALLED: Duration = Duration::from_secs(3);

const SERVER: &str = "/usr/libexec/p11-kit/p11-kit-server";

/// The client's module.
fn client() -> Option<PathBuf> {
    let folders =
        fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = folders.chain(["/usr/lib64".into(), "/usr/lib".into()]);
    let modules = folders.map(|folder| folder.join("pkcs11/p11-kit-client.so"));
    let client = modules.into_iter().find(|module| module.exists());
    let found = client.is_some() && Path::new(SERVER).exists();
    is_there("p11-kit", found).then_some(client).flatten()
}

/// A server with the processes that it starts, one for each client.
struct Server(Child);

impl Server {
    fn start(world: &World) -> Self {
        let socket = world.path("p11");
        // That of a server that was killed.
        let _ = fs::remove_file(&socket);
        let mut command = Command::new(SERVER);
        command.args(["--foreground", "--name"]).arg(&socket);
        command.arg("--provider").arg(&world.softhsm).arg("pkcs11:token=web");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let server = Self(command.spawn().unwrap());
        let until = Instant::now() + LONG;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::yield_now();
        }
        server
    }

    /// Sends a signal to all its processes.
    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} -{}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn kill(mut self) {
        self.signal("KILL");
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal("KILL");
        }
    }
}

fn open(world: &World, client: &Path, deadline: Duration) -> Token {
    let builder = Token::builder(world.uri(client, "p256")).sessions(4);
    builder.deadline(deadline).open().unwrap()
}

fn serve(world: &World, token: &Token) -> Crowd {
    Crowd::new(&token.key(world.chain("p256")).unwrap(), world.roots("p256"))
}

fn assert_nothing_left(token: &Token) {
    assert!(token.pool().engine().quiesce(LONG), "requests are left over");
    let stats = token.pool().stats();
    assert_eq!((stats.requests.now, stats.waiters.now), (0, 0));
}

/// Runs handshakes until they succeed again.
fn assert_returns(crowd: &Crowd, token: &Token) {
    let until = Instant::now() + LONG;
    while !crowd.run(8).is_empty() {
        assert!(Instant::now() < until, "the service is not back: {:?}", token.stats());
    }
    assert_eq!(crowd.run(64), [""; 0]);
    assert_nothing_left(token);
}

#[test]
fn a_server_that_stalls_costs_the_handshakes_of_that_time_and_goes_on() {
    let Some(client) = client() else { return };
    in_own_process(
        "proxy::a_server_that_stalls_costs_the_handshakes_of_that_time_and_goes_on",
        |world| {
            let server = Server::start(world);
            let token = open(world, &client, STALLED);
            let crowd = serve(world, &token);
            assert_eq!(crowd.run(64), [""; 0]);
            server.signal("STOP");
            assert_eq!(crowd.run(64).len(), 64);
            server.signal("CONT");
            assert_returns(&crowd, &token);
            assert_eq!(token.stats().restarts, 0, "the calls have returned, and nothing was wrong");
            assert_eq!(token.shutdown_blocking(LONG), Ended::Finalized);
        },
    );
}

#[test]
fn sixty_four_parked_handshakes_outlive_the_death_of_the_server() {
    let Some(client) = client() else { return };
    in_own_process(
        "proxy::sixty_four_parked_handshakes_outlive_the_death_of_the_server",
        |world| {
            let server = Server::start(world);
            let token = open(world, &client, LONG);
            let crowd = serve(world, &token);
            let before = token.stats().signatures;
            server.signal("STOP");
            let handshakes = crowd.begin(64);
            crowd.run_until(|| token.pool().stats().requests.now == 64);
            server.kill();
            // They wait while the token rests.
            crowd.run_until(|| token.stats().rests >= 4);
            let _server = Server::start(world);
            assert_eq!(crowd.end(handshakes), [""; 0], "{:?}", token.stats());
            let stats = token.stats();
            assert_eq!(stats.signatures, before + 64);
            assert!(stats.restarts > 0 && !stats.is_stopped, "{stats:?}");
            assert_returns(&crowd, &token);
            assert_eq!(token.shutdown_blocking(LONG), Ended::Finalized);
        },
    );
}

#[test]
fn a_server_that_is_away_fails_handshakes_with_few_lines_in_the_log_and_is_found_again() {
    let Some(client) = client() else { return };
    in_own_process(
        "proxy::a_server_that_is_away_fails_handshakes_with_few_lines_in_the_log_and_is_found_again",
        |world| {
            let lines = Lines::begin();
            let server = Server::start(world);
            let token = open(world, &client, STALLED);
            let crowd = serve(world, &token);
            assert_eq!(crowd.run(64), [""; 0]);
            assert_eq!(lines.take(), [], "all is well");
            let begun = Instant::now();
            server.kill();
            for _ in 0..3 {
                assert_eq!(crowd.run(64).len(), 64);
            }
            let seconds = begun.elapsed().as_secs() + 1;
            for (line, n) in lines.take() {
                assert!(n <= seconds, "{n} times in {seconds} s: {line}");
            }
            assert_nothing_left(&token);
            let _server = Server::start(world);
            assert_returns(&crowd, &token);
            assert_eq!(token.shutdown_blocking(LONG), Ended::Finalized);
        },
    );
}
