//! Hellos of other people's programs, taken from a socket. With `LAYBY_RECORD=1` they become the seeds of
//! [`hello_bytes`](crate::hello_bytes), those of programs that take seconds to start included.

use std::env;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::hello_bytes::{CHOICES, drive, seeds};

/// A program that connects to `localhost` at a port. It may write into a folder.
struct Program {
    /// The name of its seed.
    name: &'static str,
    starts_quickly: bool,
    command: fn(u16, &Path) -> Command,
}

const fn quick(name: &'static str, command: fn(u16, &Path) -> Command) -> Program {
    Program { name, starts_quickly: true, command }
}

const fn slow(name: &'static str, command: fn(u16, &Path) -> Command) -> Program {
    Program { name, starts_quickly: false, command }
}

const PROGRAMS: &[Program] = &[
    quick("openssl-1.2", |port, _| openssl(port, &["-tls1_2"])),
    quick("openssl-1.3", |port, _| openssl(port, &["-tls1_3"])),
    quick("openssl-both", |port, _| openssl(port, &[])),
    // No share for the first group that it offers.
    quick("openssl-groups", |port, _| openssl(port, &["-groups", "P-384:X25519:P-521"])),
    quick("curl-1.2", |port, _| curl(port, &["--tls-max", "1.2"])),
    quick("curl-both", |port, _| curl(port, &[])),
    quick("gnutls-1.3", |port, _| gnutls(port, "NORMAL:-VERS-ALL:+VERS-TLS1.3")),
    quick("gnutls-both", |port, _| gnutls(port, "NORMAL")),
    quick("wget", |port, _| {
        command("wget", &["--tries=1", "--no-proxy", "-O", "/dev/null", &url(port)])
    }),
    quick("python-ssl", |port, _| {
        let script = format!(
            "import socket, ssl\n\
             plain = socket.create_connection(('127.0.0.1', {port}))\n\
             ssl.create_default_context().wrap_socket(plain, server_hostname='localhost')"
        );
        command("python3", &["-c", &script])
    }),
    quick("node", |port, _| {
        let script = format!(
            "require('tls').connect({{port: {port}, servername: 'localhost', host: '127.0.0.1'}})"
        );
        command("node", &["-e", &script])
    }),
    slow("java", |port, folder| {
        let file = folder.join("Hello.java");
        let program = format!(
            "class Hello {{ public static void main(String[] none) throws Exception {{\n\
             ((javax.net.ssl.SSLSocket) javax.net.ssl.SSLSocketFactory.getDefault()\n\
             .createSocket(\"localhost\", {port})).startHandshake(); }} }}"
        );
        fs::write(&file, program).unwrap();
        let mut java = Command::new("java");
        java.arg(file);
        java
    }),
    slow("go", |port, folder| {
        let file = folder.join("hello.go");
        let program = format!(
            "package main\nimport \"crypto/tls\"\n\
             func main() {{ _, err := tls.Dial(\"tcp\", \"localhost:{port}\", nil); panic(err) }}"
        );
        fs::write(&file, program).unwrap();
        let mut go = command("go", &["run"]);
        go.arg(file).env("GOCACHE", folder.join("cache")).env("GO111MODULE", "off");
        go
    }),
    slow("chromium", |port, folder| {
        let mut chromium = command("chromium", &["--headless", "--no-sandbox", "--disable-gpu"]);
        chromium.arg(format!("--user-data-dir={}", folder.display())).arg(url(port));
        chromium
    }),
    slow("firefox", |port, folder| {
        let mut firefox = command("firefox-esr", &["--headless", "--no-remote", "--profile"]);
        firefox.arg(folder).arg("--screenshot").arg(folder.join("page.png")).arg(url(port));
        firefox.env("HOME", folder).env("MOZ_DISABLE_AUTO_SAFE_MODE", "1");
        firefox
    }),
];

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn url(port: u16) -> String {
    format!("https://localhost:{port}/")
}

fn openssl(port: u16, args: &[&str]) -> Command {
    let server = format!("127.0.0.1:{port}");
    let mut openssl = command("openssl", &["s_client", "-servername", "localhost"]);
    openssl.args(["-connect", &server]).args(args);
    openssl
}

fn curl(port: u16, args: &[&str]) -> Command {
    let mut curl = command("curl", &["--silent", "--noproxy", "*", &url(port)]);
    curl.args(args);
    curl
}

fn gnutls(port: u16, priority: &str) -> Command {
    let port = port.to_string();
    command("gnutls-cli", &["--priority", priority, "--port", &port, "localhost"])
}

/// A program that is ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LIMIT: Duration = Duration::from_secs(60);

/// The hello that the program sends, in its records; `None` if it is not installed.
fn hello(program: &Program) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = (program.command)(listener.local_addr().unwrap().port(), folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().ok()?);
    let (sender, accepted) = mpsc::channel();
    thread::spawn(move || sender.send(listener.accept()));
    let accepted = accepted.recv_timeout(LIMIT);
    let (mut socket, _) =
        accepted.unwrap_or_else(|_| panic!("{} does not connect", program.name)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut records, mut message) = (Vec::new(), Vec::new());
    // The message says how long it is, and may take several records.
    while message.len() < 4 || message.len() < 4 + length(&message[1..4]) {
        let mut header = [0; 5];
        socket.read_exact(&mut header).unwrap();
        assert_eq!(header[0], 22, "{}: a record of the handshake", program.name);
        let mut payload = vec![0; length(&header[3..])];
        socket.read_exact(&mut payload).unwrap();
        records.extend([&header[..], &payload].concat());
        message.extend(payload);
    }
    Some(records)
}

fn length(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

#[test]
fn l16_installed_programs_get_the_answer_of_rustls_in_every_configuration() {
    let records = env::var_os("LAYBY_RECORD").is_some();
    for program in PROGRAMS.iter().filter(|program| records || program.starts_quickly) {
        let Some(hello) = hello(program) else { continue };
        for choice in 0..CHOICES {
            let _same = drive(&[&[choice, 255], &hello[..]].concat());
        }
        if records {
            fs::write(seeds().join(program.name), [&[0, 255], &hello[..]].concat()).unwrap();
        }
    }
}
