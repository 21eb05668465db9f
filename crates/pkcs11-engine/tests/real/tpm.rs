//! A TPM in software, as a third module: swtpm, the resource manager before it, without which it has no room for the objects of
//! several sessions, and tpm2-pkcs11.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::modules::serves;
use crate::world::{in_process_of, is_there};

const NAME_OF_THE_MANAGER: &str = "string:com.intel.tss2.Tabrmd";

#[test]
fn a_tpm_serves_with_keys_that_it_has_generated() {
    let module = module();
    if !is_there("tpm", module.is_some()) {
        return;
    }
    let mut tpm = None;
    let test = "tpm::a_tpm_serves_with_keys_that_it_has_generated";
    let configure = |dir: &Path, command: &mut Command| tpm = Some(Tpm::start(dir, command));
    in_process_of(test, |dir| serves(&module.unwrap(), dir), configure);
}

/// The library, if what it wants is installed, too.
fn module() -> Option<PathBuf> {
    let found = [
        "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1",
        "/usr/lib/aarch64-linux-gnu/libtpm2_pkcs11.so.1",
        "/usr/lib64/pkcs11/libtpm2_pkcs11.so",
    ];
    let is_program = |name: &&str| {
        let mut command = Command::new(name);
        command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok()
    };
    let programs = ["swtpm", "tpm2-abrmd", "dbus-daemon", "dbus-send"];
    let module = found.into_iter().map(PathBuf::from).find(|module| module.exists());
    // What the module speaks to the manager by, a package of its own.
    let has_client = |module: &PathBuf| {
        module.ancestors().skip(1).take(2).any(|dir| dir.join("libtss2-tcti-tabrmd.so.0").exists())
    };
    module.filter(|module| has_client(module) && programs.iter().all(is_program))
}

/// The TPM, a message bus of its own, and the resource manager on it. They end with this.
struct Tpm(Vec<Child>);

impl Drop for Tpm {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Tpm {
    /// Starts a TPM whose state is in this directory, and tells the command of it.
    fn start(dir: &Path, user: &mut Command) -> Self {
        let mut tpm = Self(Vec::new());
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--session", "--nofork", "--print-address"]).stdout(Stdio::piped());
        let said = tpm.spawn(&mut bus).stdout.take().expect("a pipe");
        let mut address = String::new();
        BufReader::new(said).read_line(&mut address).unwrap();
        let address = address.trim();

        let port = two_ports();
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        swtpm.arg("--tpmstate").arg(format!("dir={}", dir.display()));
        swtpm.args(["--server", &format!("type=tcp,port={port}")]);
        swtpm.args(["--ctrl", &format!("type=tcp,port={}", port + 1)]);
        // It is ready to be asked once it has said so: until then the manager gives up.
        let ready = dir.join("swtpm.pid");
        swtpm.arg("--pid").arg(format!("file={}", ready.display()));
        tpm.spawn(&mut swtpm);
        until("the TPM is ready", || ready.exists());

        let mut manager = Command::new("tpm2-abrmd");
        manager.args(["--allow-root", "--session", "--flush-all"]);
        manager.arg(format!("--tcti=swtpm:host=127.0.0.1,port={port}"));
        tpm.spawn(manager.env("DBUS_SESSION_BUS_ADDRESS", address));
        until("the manager is on the bus", || {
            let mut ask = Command::new("dbus-send");
            ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
            ask.args(["org.freedesktop.DBus.NameHasOwner", NAME_OF_THE_MANAGER]);
            let answer = ask.env("DBUS_SESSION_BUS_ADDRESS", address).output().unwrap();
            String::from_utf8_lossy(&answer.stdout).contains("boolean true")
        });
        user.env("DBUS_SESSION_BUS_ADDRESS", address);
        user.env("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session").env("TPM2_PKCS11_STORE", dir);
        tpm
    }

    fn spawn(&mut self, command: &mut Command) -> &mut Child {
        let child = command.stdin(Stdio::null()).spawn().expect("a program that is installed");
        self.0.push(child);
        self.0.last_mut().expect("it was pushed")
    }
}

/// A port that is free, and the next one: the control channel is where the manager looks for it.
fn two_ports() -> u16 {
    let listen = |port| TcpListener::bind(("127.0.0.1", port));
    let port = || listen(0).and_then(|first| first.local_addr()).unwrap().port();
    let is_free = |port: &u16| *port < u16::MAX && listen(port + 1).is_ok();
    std::iter::repeat_with(port).find(is_free).expect("there is no end of them")
}

/// Programs that say in no other way that they are ready.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = std::time::Instant::now() + crate::world::LIMIT;
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}: not in time");
        std::thread::yield_now();
    }
}
