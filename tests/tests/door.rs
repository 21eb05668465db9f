//! The README's first door, as somebody would try it: an empty project outside the workspace whose only dependencies are
//! the three that the README names, and whose code is the README's.

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
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_file(key)?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    serve(listener, vec![CertificateDer::from_pem_file(cert)?], move |scheme, message| {
        key.choose_scheme(&[scheme]).expect("a scheme of this key").sign(message)
    })
    .await
}
"#;

/// The first block of Rust in the README.
fn code_of_the_readme() -> String {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let (_, block) = readme.split_once("```rust\n").expect("the README has Rust in it");
    block.split_once("```").expect("the block ends").0.to_owned()
}

fn manifest(root: &Path) -> String {
    let path = root.join("crates/ssl-async");
    format!(
        "[workspace]\n\n[package]\nname = \"door\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nssl-async = {{ path = {path:?}, features = [\"tokio\"] }}\n\
         rustls = \"0.23\"\n\
         tokio = {{ version = \"1\", features = [\"net\", \"rt-multi-thread\", \"macros\", \"io-util\", \"time\"] }}\n"
    )
}

/// Builds the project in `dir`, and says where the program is.
fn build(dir: &Path) -> PathBuf {
    let root = fs::canonicalize(ROOT).expect("the workspace");
    fs::create_dir(dir.join("src")).expect("an empty project");
    fs::write(dir.join("Cargo.toml"), manifest(&root)).expect("its manifest");
    fs::write(dir.join("src/main.rs"), code_of_the_readme() + MAIN).expect("its program");
    // The versions that everything else here is tested with.
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).expect("the lock file");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("door");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).current_dir(dir).env("CARGO_TARGET_DIR", &target);
    assert!(cargo.status().expect("cargo can be started").success(), "the README does not build");
    target.join("debug/door")
}

#[test]
fn the_code_of_the_readme_compiles_in_an_empty_project_and_serves() {
    let identity = Identity::new(KeyType::P256);
    let project = tempfile::tempdir().expect("a directory");
    let mut server = Command::new(build(project.path()))
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
