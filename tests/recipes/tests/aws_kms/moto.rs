//! The emulator of KMS, as a process on loopback, and a proxy before it that fails on command.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, future, io, thread};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A running `moto_server`; killed when dropped.
pub(crate) struct Moto {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Moto {
    /// Starts the program that the variable `MOTO_SERVER` names, or the one in the path. `None` if there is none, unless
    /// `LAYBY_REQUIRE` names `moto`.
    pub(crate) fn start() -> Option<Self> {
        let program = env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".into());
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let required = env::var("LAYBY_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|name| name == "moto"), "{program}: {error}");
                eprintln!(
                    "skipped: {program}: {error}; pip install 'moto[server]', or name it by MOTO_SERVER"
                );
                return None;
            }
        };
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("Running on http://")?;
            rest.trim().parse().ok()
        });
        // It writes a line for each request, and would stand still if nothing read them.
        thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address: address.expect("it says where it listens") })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a region does with calls of `Sign`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// This number of calls, and then no more.
    Throttles(usize),
    Denies,
    Hangs,
}

/// A proxy before the emulator: one region.
pub(crate) struct Region {
    pub(crate) address: SocketAddr,
    fault: Mutex<Fault>,
    /// Calls of `Sign`, failed ones included.
    signs: AtomicUsize,
}

impl Region {
    pub(crate) async fn before(moto: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("it listens");
        let address = listener.local_addr().expect("an address");
        let region =
            Arc::new(Self { address, fault: Mutex::new(Fault::None), signs: AtomicUsize::new(0) });
        let shared = Arc::clone(&region);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let region = Arc::clone(&shared);
                // A client that is cut off is no concern of the next.
                tokio::spawn(async move { region.serve(client, moto).await });
            }
        });
        region
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn signs(&self) -> usize {
        self.signs.load(Ordering::SeqCst)
    }

    /// The fault of one call, which is counted.
    fn next_fault(&self) -> Fault {
        self.signs.fetch_add(1, Ordering::SeqCst);
        let mut fault = self.fault.lock().unwrap();
        let now = *fault;
        if let Fault::Throttles(left) = &mut *fault {
            *left -= 1;
            if *left == 0 {
                *fault = Fault::None;
            }
        }
        now
    }

    async fn serve(&self, client: TcpStream, moto: SocketAddr) -> io::Result<()> {
        let mut client = tokio::io::BufReader::new(client);
        loop {
            let (mut head, mut line, mut length, mut signs) =
                (String::new(), String::new(), 0, false);
            while line != "\r\n" {
                line.clear();
                if client.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                signs |= lower.starts_with("x-amz-target:") && lower.trim_end().ends_with(".sign");
                // One request for each connection to the emulator.
                if !lower.starts_with("connection:") && line != "\r\n" {
                    head.push_str(&line);
                }
            }
            let mut body = vec![0; length];
            client.read_exact(&mut body).await?;
            let refusal = match if signs { self.next_fault() } else { Fault::None } {
                Fault::None => None,
                Fault::Hangs => future::pending().await,
                Fault::Throttles(_) => Some("ThrottlingException"),
                Fault::Denies => Some("AccessDeniedException"),
            };
            if let Some(name) = refusal {
                let text = format!(r#"{{"__type":"{name}","message":"on purpose"}}"#);
                let head = format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
                    text.len()
                );
                client.write_all((head + &text).as_bytes()).await?;
                continue;
            }
            let mut server = TcpStream::connect(moto).await?;
            server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await?;
            server.write_all(&body).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            client.write_all(&answer).await?;
            // Its answer says that it closes.
            return client.shutdown().await;
        }
    }
}
