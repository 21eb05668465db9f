//! The README's first door, as somebody would try it: an empty project outside the workspace whose dependencies and code are
//! the README's.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use layby_tests::{Client, Identity, KeyType};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What the README leaves to the reader: a certificate, a key, an address, and `main`.
const MAIN: &str = r#"
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let [cert, key] = [1, 2].map(|n| std::env::args().nth(n).expect("two files"));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_file(key)?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    serve(listener, vec![CertificateDer::from_pem_file(cert)?], move |scheme, message| {
        let signer = key.choose_scheme(&[scheme]).expect("a scheme of this key");
        signer.sign(message).map_err(io::Error::other)
    })
    .await
}
"#;

/// The first block of this language in the README.
fn block_of_the_readme(language: &str) -> String {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let begin = format!("```{language}\n");
    let (_, block) = readme.split_once(&begin).expect("the README has such a block");
    block.split_once("```").expect("the block ends").0.to_owned()
}

/// The README's, but for where the crate is.
fn manifest(root: &Path, name: &str) -> String {
    let published = "layby = { version = \"0.1\",";
    let here = format!("layby = {{ path = {:?},", root.join("crates/layby"));
    let dependencies = block_of_the_readme("toml");
    assert!(dependencies.contains(published), "the README names the crate: {dependencies}");
    let package = format!("[package]\nname = {name:?}\nversion = \"0.0.0\"\nedition = \"2024\"");
    format!("[workspace]\n\n{package}\n\n{}", dependencies.replace(published, &here))
}

/// The build of a new project in `dir` with this program. The name is its own: projects that share a directory of builds
/// are told apart by nothing else, and one that waited for another would find its program built.
fn build(dir: &Path, name: &str, program: &str) -> (Command, PathBuf) {
    let root = fs::canonicalize(ROOT).expect("the workspace");
    fs::create_dir(dir.join("src")).expect("an empty project");
    fs::write(dir.join("Cargo.toml"), manifest(&root, name)).expect("its manifest");
    fs::write(dir.join("src/main.rs"), program).expect("its program");
    // The versions that everything else here is tested with.
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).expect("the lock file");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("door");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).current_dir(dir).env("CARGO_TARGET_DIR", &target);
    (cargo, target.join("debug").join(name))
}

#[test]
fn the_code_of_the_readme_compiles_in_an_empty_project_and_serves() {
    let identity = Identity::new(KeyType::P256);
    let project = tempfile::tempdir().expect("a directory");
    let (mut build, program) = build(project.path(), "door", &(block_of_the_readme("rust") + MAIN));
    assert!(build.status().expect("cargo starts").success(), "the README does not build");
    let mut server = Command::new(program)
        .args([identity.cert(), identity.key()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let served = line.trim().parse().map(|address| {
        let mut client = Client::connect(address, &identity)?;
        client.finish_handshake()?;
        client.greeting()
    });
    server.kill().expect("it still runs");
    server.wait().expect("it ends");
    assert_eq!(served.expect("an address").expect("a verified connection"), "hello");
}

/// A session in a task that moves between threads.
const MOVED: &str = r#"
#[tokio::main]
async fn main() {}

fn moved(mut ssl: layby::tls::Ssl<std::net::TcpStream>) {
    tokio::spawn(async move {
        let _ = ssl.do_handshake();
        tokio::task::yield_now().await;
        let _ = ssl.do_handshake();
    });
}
"#;

#[test]
fn who_moves_a_session_between_threads_is_told_by_the_compiler_what_to_use_instead() {
    let project = tempfile::tempdir().expect("a directory");
    let (mut build, _) = build(project.path(), "moved", MOVED);
    let output = build.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a session is not Send");
    assert!(said.contains("future cannot be sent between threads safely"), "{said}");
    assert!(said.contains("StaysOnItsThreadUseTokioTlsAcceptor"), "{said}");
}
