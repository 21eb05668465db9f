//! The README's first door and the tutorials, as a reader would try them: an empty project outside the workspace whose
//! dependencies and code are those of the page, and the commands of the page.

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

const README: &str = "README.md";
const TUTORIAL: &str = "docs/first-server.md";

/// The blocks of this language on a page, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).expect("a page");
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The first of them.
fn block(page: &str, language: &str) -> String {
    blocks(page, language).into_iter().next().expect("the page has such a block")
}

/// The dependencies of the page, but for where the crate is.
fn manifest(root: &Path, page: &str, name: &str) -> String {
    let manifest = block(page, "toml");
    let at = manifest.find("[d").expect("dependencies");
    let mut dependencies = manifest[at..].to_owned();
    let mut ours = 0;
    for (package, folder) in [("layby", "crates/layby"), ("layby-wait-ctx", "crates/wait-ctx")] {
        let published = format!("{package} = {{ version = \"0.1\",");
        let here = format!("{package} = {{ path = {:?},", root.join(folder));
        ours += dependencies.matches(&published).count();
        dependencies = dependencies.replace(&published, &here);
    }
    assert_eq!(ours, 1, "{page} names the crate: {dependencies}");
    let package = format!("[package]\nname = {name:?}\nversion = \"0.0.0\"\nedition = \"2024\"");
    format!("[workspace]\n\n{package}\n\n{dependencies}")
}

/// The build of a new project in `dir` with this program.
fn build(dir: &Path, page: &str, name: &str, program: &str) -> (Command, PathBuf) {
    let (mut cargo, target) = project(dir, page, name, "src/main.rs", program);
    cargo.args(["build", "--quiet"]);
    (cargo, target.join("debug").join(name))
}

/// A new project in `dir` with this file: cargo there, and where it builds. The name is its own: projects that share a directory of builds
/// are told apart by nothing else, and one that waited for another would find its program built.
fn project(dir: &Path, page: &str, name: &str, file: &str, text: &str) -> (Command, PathBuf) {
    let root = fs::canonicalize(ROOT).expect("the workspace");
    for folder in ["src", "tests"] {
        fs::create_dir(dir.join(folder)).expect("an empty project");
    }
    fs::write(dir.join("Cargo.toml"), manifest(&root, page, name)).expect("its manifest");
    fs::write(dir.join(file), text).expect("its program");
    // The versions that everything else here is tested with.
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).expect("the lock file");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("door");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(dir).env("CARGO_TARGET_DIR", &target);
    (cargo, target)
}

#[test]
fn the_code_of_the_readme_compiles_in_an_empty_project_and_serves() {
    let identity = Identity::new(KeyType::P256);
    let project = tempfile::tempdir().expect("a directory");
    let (mut build, program) =
        build(project.path(), README, "door", &(block(README, "rust") + MAIN));
    assert!(build.status().expect("cargo starts").success(), "the README does not build");
    let mut server = Command::new(program);
    server.args([identity.cert(), identity.key()]);
    assert_eq!(greeting(&mut server, &identity), "hello");
}

#[test]
fn the_first_server_of_the_tutorial_compiles_and_serves() {
    let identity = Identity::new(KeyType::P256);
    let project = tempfile::tempdir().expect("a directory");
    // A port of its own, and no more time than the test needs.
    let mut code = block(TUTORIAL, "rust");
    for (theirs, ours) in [
        ("127.0.0.1:8443", "127.0.0.1:0"),
        ("println!(\"listening\")", "println!(\"{}\", listener.local_addr()?)"),
        ("Duration::from_millis(500)", "Duration::from_millis(1)"),
    ] {
        assert!(code.contains(theirs), "{TUTORIAL} has {theirs}");
        code = code.replace(theirs, ours);
    }
    let (mut build, program) = build(project.path(), TUTORIAL, "first-server", &code);
    assert!(build.status().expect("cargo starts").success(), "the tutorial does not build");
    fs::copy(identity.cert(), project.path().join("cert.pem")).expect("a certificate");
    fs::copy(identity.key(), project.path().join("key.pem")).expect("a key");
    let mut server = Command::new(program);
    assert_eq!(greeting(server.current_dir(project.path()), &identity), "hello from a slow key");
}

const ENGINE: &str = "docs/test-your-engine.md";

#[test]
fn the_engine_of_the_tutorial_passes_and_its_bug_is_found_as_the_page_shows() {
    let [engine, test, swapped] = &blocks(ENGINE, "rust")[..] else { panic!("three programs") };
    let right = swapped.lines().rev().fold(String::new(), |text, line| text + line + "\n");
    assert!(engine.contains(&right), "the engine has the two calls, the other way round");
    let report = &blocks(ENGINE, "text")[0];
    for (name, engine) in
        [("my-engine", engine.clone()), ("my-broken-engine", engine.replace(&right, swapped))]
    {
        let dir = tempfile::tempdir().expect("a directory");
        let text = engine.clone() + test;
        let (mut cargo, _) = project(dir.path(), ENGINE, name, "tests/engine.rs", &text);
        fs::write(dir.path().join("src/lib.rs"), "").expect("an empty library");
        let output = cargo.args(["test", "--quiet"]).output().expect("cargo starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.success(), name == "my-engine", "{said}");
        assert_eq!(said.contains(report.as_str()), name == "my-broken-engine", "{said}");
    }
}

/// What the server says to a client that verifies it. Its first line is its address.
fn greeting(server: &mut Command, identity: &Identity) -> String {
    let mut server = server.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let served = line.trim().parse().map(|address| {
        let mut client = Client::connect(address, identity)?;
        client.finish_handshake()?;
        client.greeting()
    });
    server.kill().expect("it still runs");
    server.wait().expect("it ends");
    served.expect("an address").expect("a verified connection")
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
    let (mut build, _) = build(project.path(), README, "moved", MOVED);
    let output = build.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a session is not Send");
    assert!(said.contains("future cannot be sent between threads safely"), "{said}");
    assert!(said.contains("StaysOnItsThreadUseTokioTlsAcceptor"), "{said}");
}
