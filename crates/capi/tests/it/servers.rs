//! Servers that other people wrote, on OpenSSL's functions and on ours: `openssl s_server -async` with a provider that
//! pauses, and HAProxy with `ssl-mode-async` and a key that takes 5 ms.
//!
//! HAProxy is skipped where it is not installed, unless `LAYBY_REQUIRE` names `haproxy`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use tempfile::TempDir;
use wait_timeout::ChildExt as _;

use crate::tools::{
    Header, Library, Program, command, has, has_libssl_dev, run_to_end, shared_library,
};

/// A server that takes longer to start or to end hangs.
const LONGEST: Duration = Duration::from_secs(300);

/// A certificate, its key, and both in one file.
fn identity() -> TempDir {
    let folder = TempDir::new().expect("a folder for the key");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args([
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]);
    run_to_end(openssl.current_dir(folder.path())).must_succeed("openssl req");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("openssl made it");
    fs::write(folder.path().join("both.pem"), read("cert.pem") + &read("key.pem"))
        .expect("write both");
    folder
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address").port()
}

/// Waits until a connection is accepted. Each try takes a moment of its own.
fn wait_for_port(port: u16, server: &mut Child) {
    for _ in 0..2000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        let ended = server.wait_timeout(Duration::from_millis(20)).expect("look at the server");
        assert!(ended.is_none(), "the server has ended: {ended:?}");
    }
    panic!("the server does not listen");
}

/// The numbers of the line of `LAYBY_STATS`, by the word that follows each.
fn statistic(said: &str, word: &str) -> u64 {
    let line =
        said.lines().find(|line| line.contains(": jobs: ")).unwrap_or_else(|| panic!("{said}"));
    let before =
        line.split_once(&format!(" {word}")).unwrap_or_else(|| panic!("no {word}: {line}")).0;
    let number = before.rsplit(' ').next().expect("a number precedes the word");
    number.parse().unwrap_or_else(|_| panic!("{word}: {line}"))
}

/// Ends the server with a signal that it obeys, and returns what it has said.
fn end(mut server: Child, signal: &str) -> String {
    let mut errors = server.stderr.take().expect("stderr is piped");
    let reader = thread::spawn(move || {
        let mut said = String::new();
        let _ = errors.read_to_string(&mut said);
        said
    });
    let kill = Command::new("kill").arg(signal).arg(server.id().to_string()).status();
    assert!(kill.expect("kill runs").success());
    let status = server.wait_timeout(LONGEST).expect("wait for the server");
    if status.is_none() {
        server.kill().expect("end the server");
    }
    let said = reader.join().expect("the reader ends");
    assert!(status.is_some(), "the server does not end: {said}");
    said
}

#[test]
fn s_server_pauses_in_a_provider_and_completes_its_handshakes() {
    if !has_libssl_dev() {
        return;
    }
    let identity = identity();
    let provider = shared_object("pausing_provider.c", identity.path(), "pausing.so");
    for library in [Library::Stock, Library::Preloaded] {
        let mut server = command("openssl", library);
        server.args([
            "s_server", "-async", "-accept", "0", "-naccept", "5", "-cert", "cert.pem", "-key",
            "key.pem",
        ]);
        server.arg("-provider-path").arg(provider.parent().expect("it lies in the folder"));
        server.args([
            "-provider",
            "pausing",
            "-provider",
            "default",
            "-propquery",
            "?provider=pausing",
        ]);
        server.current_dir(identity.path()).env("LAYBY_STATS", "1");
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = server.spawn().expect("openssl runs");
        // "ACCEPT [::]:PORT"
        let mut lines = BufReader::new(server.stdout.take().expect("stdout is piped")).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("ACCEPT"));
        let line = line.expect("s_server says where it listens");
        let port = line.rsplit(':').next().expect("the port is last").to_owned();
        let drain = thread::spawn(move || lines.map_while(Result::ok).count());
        for _ in 0..5 {
            let mut client = Command::new("openssl");
            client.args(["s_client", "-connect", &format!("localhost:{port}")]);
            // The hash of this one is the provider's.
            client.args(["-ciphersuites", "TLS_AES_128_GCM_SHA256"]);
            let ended = run_to_end(client.stdin(Stdio::null()));
            assert!(ended.stdout().contains("Cipher is TLS_"), "{library:?}: {}", ended.stdout());
        }
        let mut errors = server.stderr.take().expect("stderr is piped");
        let status = server.wait_timeout(LONGEST).expect("wait for the server");
        if status.is_none() {
            server.kill().expect("end the server");
        }
        let mut said = String::new();
        errors.read_to_string(&mut said).expect("read what it says");
        drain.join().expect("the reader ends");
        assert!(status.is_some_and(|status| status.success()), "{library:?}: {said}");
        if library == Library::Preloaded {
            // Each handshake pauses in each of its digests.
            assert!(statistic(&said, "pauses") >= 50, "{said}");
            assert_eq!(statistic(&said, "started"), statistic(&said, "finished"), "{said}");
        }
    }
}

#[test]
fn haproxy_makes_its_handshakes_and_keeps_no_job_of_a_closed_connection() {
    let installed = || Command::new("haproxy").arg("-v").output().is_ok_and(|v| v.status.success());
    if !has_libssl_dev() || !has("haproxy", installed) {
        return;
    }
    let identity = identity();
    let slow_key = shared_object("slow_key.c", identity.path(), "slow_key.so");
    let clients = Program::compile("clients.c", Header::OpenSsl, Library::Stock, &[]);
    for library in [Library::Stock, Library::Preloaded] {
        // How many out of ten clients close their socket in the middle.
        for abrupt in ["0", "5"] {
            let port = free_port();
            let config = identity.path().join("haproxy.cfg");
            fs::write(&config, haproxy_config(port, identity.path()))
                .expect("write the configuration");
            let mut server = command("haproxy", library);
            let preload = match library {
                Library::Stock => slow_key.as_os_str().to_owned(),
                _ => env::join_paths([&slow_key, &shared_library()]).expect("no colons"),
            };
            server
                .arg("-db")
                .arg("-f")
                .arg(&config)
                .env("LD_PRELOAD", preload)
                .env("LAYBY_STATS", "1");
            server.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut server = server.spawn().expect("haproxy runs");
            wait_for_port(port, &mut server);
            let mut load = clients.command(Library::Stock);
            let ended = run_to_end(load.args([&port.to_string(), "300", "64", abrupt]));
            ended.must_succeed(&format!("{library:?}"));
            println!("{library:?}, {abrupt} of ten abrupt: {}", ended.stdout().trim());
            assert!(ended.stdout().contains(" 0 failed"), "{}", ended.stdout());
            let said = end(server, "-USR1");
            if library == Library::Preloaded {
                assert!(statistic(&said, "pauses") >= 100, "{said}");
                assert_eq!(statistic(&said, "paused now"), 0, "{said}");
                assert_eq!(statistic(&said, "orphaned"), statistic(&said, "reclaimed"), "{said}");
                assert!(!said.contains("refused: "), "{said}");
            }
        }
    }
}

/// The nginx of a distribution has no jobs: it serves as before beside the library, and starts none. One that knows
/// `ssl_async` is given it, and then has to pause.
#[test]
fn nginx_serves_as_before() {
    let installed = || Command::new("nginx").arg("-v").output().is_ok_and(|v| v.status.success());
    if !has_libssl_dev() || !has("nginx", installed) {
        return;
    }
    let identity = identity();
    let folder = identity.path();
    let slow_key = shared_object("slow_key.c", folder, "slow_key.so");
    let clients = Program::compile("clients.c", Header::OpenSsl, Library::Stock, &[]);
    let nginx = |library: Library, preload: &[&Path]| {
        let mut nginx = command("nginx", library);
        nginx
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"));
        if !preload.is_empty() {
            nginx.env("LD_PRELOAD", env::join_paths(preload).expect("no colons"));
        }
        nginx
    };
    let port = free_port();
    let configure = |more: &str| {
        fs::write(folder.join("nginx.conf"), nginx_config(port, more)).expect("write nginx.conf");
    };
    configure("ssl_async on;");
    let speaks_async = run_to_end(nginx(Library::Stock, &[]).arg("-t")).0.status.success();
    configure(if speaks_async { "ssl_async on;" } else { "" });
    let mut server = nginx(Library::Stock, &[&slow_key, &shared_library()]);
    server.env("LAYBY_STATS", "1").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut server = server.spawn().expect("nginx runs");
    wait_for_port(port, &mut server);
    let ended =
        run_to_end(clients.command(Library::Stock).args([&port.to_string(), "40", "8", "0"]));
    ended.must_succeed("nginx");
    assert!(ended.stdout().contains(" 0 failed"), "{}", ended.stdout());
    let said = end(server, "-QUIT");
    let pauses = statistic(&said, "pauses");
    assert!(if speaks_async { pauses > 0 } else { pauses == 0 }, "{said}");
    assert!(!said.contains("refused: "), "{said}");
}

fn nginx_config(port: u16, more: &str) -> String {
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  \
         scgi_temp_path scgi;\n  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate cert.pem;\n    \
         ssl_certificate_key key.pem;\n    {more}\n    return 200;\n  }}\n}}\n"
    )
}

fn haproxy_config(port: u16, identity: &Path) -> String {
    format!(
        "global\n  ssl-mode-async\n  nbthread 1\n  maxconn 1000\n\
         defaults\n  mode http\n  timeout connect 9s\n  timeout client 9s\n  timeout server 9s\n\
         frontend tls\n  bind 127.0.0.1:{port} ssl crt {}\n  http-request return status 200\n",
        identity.join("both.pem").display()
    )
}

/// Compiles a C file to a shared object in a folder.
fn shared_object(source: &str, folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
    cc.arg(&path).arg(crate::tools::c_sources().join(source)).args(["-lcrypto", "-ldl"]);
    run_to_end(&mut cc).must_succeed(source);
    path
}
