//! Command lines of other TLS implementations. All verify, and all use the certificate and key of the world.

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use rustls::version::TLS12;

use crate::world::Version;

/// A client of another implementation.
pub(crate) struct Peer {
    /// Its name in `LAYBY_REQUIRE`.
    pub(crate) name: &'static str,
    program: &'static str,
    /// Sends its input, or a request of its own, to the server.
    command: fn(server: SocketAddr, trusted: &str, version: Version) -> Command,
}

pub(crate) const OPENSSL: Peer = Peer { name: "openssl", program: "openssl", command: s_client };
pub(crate) const CURL: Peer = Peer { name: "curl", program: "curl", command: curl };
pub(crate) const GNUTLS: Peer = Peer { name: "gnutls", program: "gnutls-cli", command: gnutls };

impl Peer {
    /// Whether it is installed. Prints a line if not; panics if it is required.
    pub(crate) fn is_installed(&self) -> bool {
        let mut command = Command::new(self.program);
        command.arg(if self.name == "openssl" { "version" } else { "--version" });
        let installed = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|name| name == self.name);
        assert!(installed || !required, "{} is required and not installed", self.program);
        if !installed {
            eprintln!("skipped: {} is not installed", self.program);
        }
        installed
    }

    /// The command, run in the directory of the files; its input and output are pipes.
    pub(crate) fn command(
        &self,
        server: SocketAddr,
        files: &Path,
        trusted: &str,
        version: Version,
    ) -> Command {
        let mut command = (self.command)(server, trusted, version);
        command.current_dir(files);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn openssl(command: &str, trusted: &str, version: Version) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args([command, "-cert", "cert.pem", "-key", "key.pem", "-CAfile", trusted]);
    openssl.arg(if version == &TLS12 { "-tls1_2" } else { "-tls1_3" });
    openssl.arg("-verify_return_error");
    openssl
}

fn s_client(server: SocketAddr, trusted: &str, version: Version) -> Command {
    let mut command = openssl("s_client", trusted, version);
    command.args(["-servername", "localhost", "-verify_hostname", "localhost"]);
    command.args(["-connect", &server.to_string()]);
    command
}

/// OpenSSL's server for one connection: it answers each line with the same line backwards.
pub(crate) fn s_server(files: &Path, trusted: &str, version: Version) -> Command {
    let mut command = openssl("s_server", trusted, version);
    command.args(["-accept", "127.0.0.1:0", "-Verify", "1", "-rev", "-naccept", "1"]);
    command.current_dir(files);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn curl(server: SocketAddr, trusted: &str, version: Version) -> Command {
    let port = server.port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--noproxy", "*"]);
    command.args(["--resolve", &format!("localhost:{port}:{}", server.ip())]);
    command.args(["--cert", "cert.pem", "--key", "key.pem", "--cacert", trusted]);
    command.args(match version == &TLS12 {
        true => ["--tlsv1.2", "--tls-max", "1.2"],
        false => ["--tlsv1.3", "--tls-max", "1.3"],
    });
    command.arg(format!("https://localhost:{port}/"));
    command
}

fn gnutls(server: SocketAddr, trusted: &str, version: Version) -> Command {
    let mut command = Command::new("gnutls-cli");
    command.args(["--sni-hostname", "localhost", "--verify-hostname", "localhost"]);
    command.args(["--x509certfile", "cert.pem", "--x509keyfile", "key.pem"]);
    command.args(["--x509cafile", trusted, "--priority"]);
    command.arg(match version == &TLS12 {
        true => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        false => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    });
    command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
    command
}
