//! A token of SoftHSM with a key of each type, made for one run.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use handshake_lab::certs::TestPki;
use handshake_lab::scenario::KeyType;
use pkcs11_engine::{KeyUri, Token};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;

use super::setting::Failure;
use super::shim::{self, Page, Word};

pub(super) const PIN: &str = "1234";
/// By these variables a child finds what it works with.
const DIR: &str = "LAYBY_BENCH_TOKEN";
const MODULE: &str = "LAYBY_BENCH_MODULE";

pub(super) struct TestToken {
    dir: TempDir,
    softhsm: PathBuf,
}

impl TestToken {
    /// # Errors
    ///
    /// What is missing.
    pub(super) fn make() -> Result<Self, String> {
        let places = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
            "/usr/lib64/softhsm/libsofthsm2.so",
            "/usr/local/lib/softhsm/libsofthsm2.so",
        ];
        let softhsm = places.iter().map(PathBuf::from).find(|path| path.exists());
        let softhsm = softhsm.ok_or("softhsm2 is not installed")?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let token = Self { dir, softhsm };
        token.fill().map_err(|error| error.to_string())?;
        Ok(token)
    }

    fn fill(&self) -> Result<(), Failure> {
        let tokens = self.path("tokens");
        fs::create_dir(&tokens)?;
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(self.path("softhsm2.conf"), conf)?;
        let init = ["--init-token", "--free", "--label", "web", "--so-pin", "87654321"];
        self.softhsm2_util(&init)?;
        for (number, pki) in TestPki::fleet(&[KeyType::P256, KeyType::Rsa2048])?.iter().enumerate()
        {
            let (name, id) = (pki.key.to_string(), format!("{:02x}", number + 1));
            let key = self.path("key.pem");
            fs::write(&key, &pki.key_pem)?;
            fs::write(self.path(&format!("{name}.pem")), &pki.certificate_pem)?;
            fs::write(self.path("ca.pem"), &pki.ca_pem)?;
            let key = key.display().to_string();
            self.softhsm2_util(&[
                "--import", &key, "--token", "web", "--label", &name, "--id", &id,
            ])?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn softhsm2_util(&self, args: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new("softhsm2-util");
        command.args(args).args(["--pin", PIN]).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        let output = command.output().map_err(|error| format!("softhsm2-util: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("softhsm2-util: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }

    pub(super) fn softhsm(&self) -> &PathBuf {
        &self.softhsm
    }

    /// A module in front of SoftHSM that adds this to each signature.
    pub(super) fn slow_module(&self, delay_ms: u64) -> Result<PathBuf, String> {
        Page::new(self.dir.path()).set(Word::DelayUs, delay_ms * 1000);
        shim::module(self.dir.path()).ok_or_else(|| "there is no C compiler".into())
    }

    /// Tells a process of this program which token it works with, through which module.
    pub(super) fn configure(&self, command: &mut Command, module: &Path) {
        command.env(DIR, self.dir.path()).env(MODULE, module);
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.env("LAYBY_SHIM", self.path("page")).env("LAYBY_SOFTHSM", &self.softhsm);
        let socket = self.path("p11");
        command.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
    }
}

/// p11-kit's server with SoftHSM behind it.
pub(super) struct Proxy {
    server: Child,
    client: PathBuf,
}

impl Proxy {
    pub(super) fn start(token: &TestToken) -> Result<Self, String> {
        const SERVER: &str = "/usr/libexec/p11-kit/p11-kit-server";
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut modules = folders.map(|entry| entry.path().join("pkcs11/p11-kit-client.so"));
        let client = modules.find(|module| module.exists() && Path::new(SERVER).exists());
        let client = client.ok_or("p11-kit is not installed")?;
        let socket = token.path("p11");
        let mut command = Command::new(SERVER);
        command.args(["--foreground", "--name"]).arg(&socket);
        command.arg("--provider").arg(&token.softhsm).arg("pkcs11:token=web");
        command.env("SOFTHSM2_CONF", token.path("softhsm2.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let server = command.spawn().map_err(|error| error.to_string())?;
        let proxy = Self { server, client };
        let until = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&socket).is_err() {
            if Instant::now() > until {
                return Err("its server does not listen".into());
            }
            std::thread::yield_now();
        }
        Ok(proxy)
    }

    /// The module of its client.
    pub(super) fn client(&self) -> &PathBuf {
        &self.client
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // With the processes that it has started, one for each client.
        let group = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.server.wait();
    }
}

/// What a child works with, as [`TestToken::configure`] has told it.
pub(super) struct Given {
    dir: PathBuf,
    pub(super) module: PathBuf,
}

impl Given {
    pub(super) fn new() -> Result<Self, Failure> {
        let variable = |name| std::env::var_os(name).ok_or_else(|| format!("{name} is not set"));
        Ok(Self { dir: variable(DIR)?.into(), module: variable(MODULE)?.into() })
    }

    pub(super) fn certificate(&self, name: &str) -> Result<CertificateDer<'static>, Failure> {
        Ok(CertificateDer::from_pem_file(self.dir.join(format!("{name}.pem")))?)
    }

    /// The token, logged in, with this number of sessions.
    pub(super) fn open(&self, sessions: usize) -> Result<Token, Failure> {
        let uri: KeyUri = "pkcs11:token=web".parse()?;
        let token = Token::builder(uri).module(&self.module).pin(|| Ok(PIN.to_owned()));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Ok(token.sessions(sessions).provider(&provider).open()?)
    }
}
