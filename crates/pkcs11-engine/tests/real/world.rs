//! A token of SoftHSM for one test, in a process of its own: a module reads its configuration once, and keeps its state for the
//! whole process.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use std::{env, fs, thread};

use pkcs11_engine::{Chain, KeyUri, Token, TokenBuilder};
use ssl_async::rustls::RootCertStore;
use ssl_async::rustls::crypto::aws_lc_rs;
use ssl_async::rustls::pki_types::CertificateDer;
use ssl_async::rustls::pki_types::pem::PemObject;

/// The time after which a process counts as hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The test that a process runs, and the directory of its token.
const CHILD: &str = "LAYBY_PKCS11_TEST";
const WORLD: &str = "LAYBY_PKCS11_WORLD";

pub(crate) const PIN: &str = "1234";

/// Keys by their labels, and the options of `openssl genpkey`.
const KEYS: &[(&str, &[&str])] = &[
    ("rsa2048", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("rsa4096", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"]),
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("ed25519", &["-algorithm", "ED25519"]),
];

/// Whether what `LAYBY_REQUIRE` calls `name` is there. Prints a line if not; panics if it is required.
pub(crate) fn is_there(name: &str, found: bool) -> bool {
    let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|required| required == name);
    assert!(found || !required, "{name} is required and not installed");
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The library of SoftHSM, where distributions have it.
pub(crate) fn softhsm() -> Option<PathBuf> {
    let found = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = found.iter().map(PathBuf::from).find(|path| path.exists());
    is_there("softhsm", found.is_some()).then_some(found).flatten()
}

pub(crate) fn run(program: &str, args: &[&str], conf: Option<&Path>) {
    let mut command = Command::new(program);
    command.args(args);
    command.envs(conf.map(|conf| ("SOFTHSM2_CONF", conf)));
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{program} {args:?}: {said}");
}

pub(crate) fn write_conf(dir: &Path) -> PathBuf {
    let conf = dir.join("softhsm2.conf");
    let tokens = dir.join("tokens");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&conf, text).unwrap();
    fs::create_dir_all(tokens).unwrap();
    conf
}

/// A token with all keys, and their certificates in files. Made once, and copied for each test: a module that crashes may leave
/// a token without its contents.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let conf = write_conf(dir.path());
        let conf = Some(conf.as_path());
        let init =
            ["--init-token", "--free", "--label", "web", "--so-pin", "87654321", "--pin", PIN];
        run("softhsm2-util", &init, conf);
        for (number, (label, options)) in KEYS.iter().enumerate() {
            let file = |ending| dir.path().join(format!("{label}.{ending}")).display().to_string();
            let (key, certificate, id) = (file("key"), file("pem"), format!("{:02x}", number + 1));
            run("openssl", &[&["genpkey", "-out", &key], *options].concat(), None);
            let import =
                ["--import", &key, "--token", "web", "--label", label, "--id", &id, "--pin", PIN];
            run("softhsm2-util", &import, conf);
            let mut request = vec!["req", "-x509", "-new", "-key", &key, "-out", &certificate];
            request.extend(["-subj", "/CN=localhost", "-days", "30"]);
            request.extend(["-addext", "subjectAltName=DNS:localhost"]);
            request.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
            run("openssl", &request, None);
        }
        dir
    });
    dir.path()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A directory with a token, for the process that uses it.
pub(crate) struct World {
    dir: PathBuf,
    pub(crate) softhsm: PathBuf,
}

/// How a process ended, and what it wrote.
pub(crate) struct Run {
    pub(crate) status: std::process::ExitStatus,
    pub(crate) text: String,
}

/// Runs `body` with a token of its own, in a process of its own that runs this one test. The process must end well.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce(&World)) {
    in_processes(test, body, |softhsm, dir| {
        let run = child(test, softhsm, dir);
        assert!(run.status.success(), "{}: {}", run.status, run.text);
        assert!(run.text.contains("1 passed"), "the test {test} has run: {}", run.text);
    });
}

/// As [`in_own_process`], but `parent` starts the processes by [`child`] and judges how they end.
pub(crate) fn in_processes(
    test: &str,
    body: impl FnOnce(&World),
    parent: impl FnOnce(&Path, &Path),
) {
    let Some(softhsm) = softhsm() else { return };
    if env::var(CHILD).is_ok_and(|child| child == test) {
        let dir = env::var_os(WORLD).expect("the parent names the directory").into();
        // Another test of this process may have done so.
        let _ = aws_lc_rs::default_provider().install_default();
        return body(&World { dir, softhsm });
    }
    let dir = tempfile::tempdir().unwrap();
    copy(template(), dir.path());
    write_conf(dir.path());
    parent(&softhsm, dir.path());
}

/// Runs the test in a process of its own, to its end.
pub(crate) fn child(test: &str, softhsm: &Path, dir: &Path) -> Run {
    child_with(test, dir, |command| {
        command.env("SOFTHSM2_CONF", dir.join("softhsm2.conf"));
        let socket = dir.join("p11");
        command.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
        command.env("LAYBY_SHIM", dir.join("page")).env("LAYBY_SOFTHSM", softhsm);
    })
}

/// As [`in_own_process`], of a module that is no SoftHSM: in an empty directory, where `configure` tells the module of it.
pub(crate) fn in_process_of(
    test: &str,
    body: impl FnOnce(&Path),
    configure: impl FnOnce(&Path, &mut Command),
) {
    if env::var(CHILD).is_ok_and(|child| child == test) {
        let dir = env::var_os(WORLD).expect("the parent names the directory");
        let _ = aws_lc_rs::default_provider().install_default();
        return body(dir.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let run = child_with(test, dir.path(), |command| configure(dir.path(), command));
    assert!(run.status.success(), "{}: {}", run.status, run.text);
    assert!(run.text.contains("1 passed"), "the test {test} has run: {}", run.text);
}

fn child_with(test: &str, dir: &Path, configure: impl FnOnce(&mut Command)) -> Run {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(CHILD, test).env(WORLD, dir);
    command.env("WEB_PIN", PIN).env("WRONG_PIN", "4321");
    configure(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test starts itself");
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    let texts = streams.map(|mut stream| {
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = ended.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        end
    });
    let mut text = String::new();
    for end in texts {
        match end.recv_timeout(LIMIT) {
            Ok(said) => text += &said,
            Err(_) => {
                let _ = child.kill();
                panic!("{test} has not ended within {LIMIT:?}");
            }
        }
    }
    Run { status: child.wait().unwrap(), text }
}

impl World {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// One more token, with one of the keys.
    pub(crate) fn add_token(&self, label: &str, key: &str) {
        let init = ["--init-token", "--free", "--label", label, "--so-pin", "87654321"];
        run("softhsm2-util", &[&init[..], &["--pin", PIN]].concat(), None);
        let file = self.path(&format!("{key}.key")).display().to_string();
        let import = ["--import", &file, "--token", label, "--label", key, "--id", "01"];
        run("softhsm2-util", &[&import[..], &["--pin", PIN]].concat(), None);
    }

    /// Takes away what the token of this label has stored.
    pub(crate) fn remove_token(&self, label: &str) {
        run("softhsm2-util", &["--delete-token", "--token", label], None);
    }

    /// The URI of a key, with the PIN from the environment.
    pub(crate) fn uri(&self, module: &Path, key: &str) -> KeyUri {
        let uri = format!(
            "pkcs11:token=web;object={key}?pin-source=env:WEB_PIN&module-path={}",
            module.display()
        );
        uri.parse().unwrap()
    }

    /// A token whose deadline passes only where a test hangs.
    pub(crate) fn builder(&self, module: &Path, key: &str) -> TokenBuilder {
        Token::builder(self.uri(module, key)).deadline(LIMIT)
    }

    /// The token, in this process.
    pub(crate) fn open(&self) -> Token {
        self.builder(&self.softhsm, "p256").open().unwrap()
    }

    pub(crate) fn chain_file(&self, key: &str) -> PathBuf {
        self.path(&format!("{key}.pem"))
    }

    pub(crate) fn chain(&self, key: &str) -> Chain {
        Chain::File(self.chain_file(key))
    }

    /// What a client trusts that knows the certificate of this key.
    pub(crate) fn roots(&self, key: &str) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.chain_file(key)).unwrap()).unwrap();
        roots
    }
}
