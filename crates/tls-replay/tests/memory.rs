//! What a parked handshake holds, and that its secrets are wiped. The global allocator counts what is alive and searches
//! each block that is freed, so this file has a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup,
};
use rustls::{Error, NamedGroup};
use tls_replay::{Session, SessionOptions, SessionStage};

#[path = "it/servers.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod servers;
#[path = "it/world.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod world;

use world::{Want, World};

/// An allocator that counts bytes and looks for the secret in what it gets back.
struct Watching;

const SECRET: [u8; 32] = *b"\xA5a secret that has to be wiped!\x5A";

static FOUND: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What this thread allocated, less what it freed.
    static ALIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system's allocator; `dealloc` only reads the block before.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALIVE.set(ALIVE.get() + layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALIVE.set(ALIVE.get() - layout.size() as isize);
        // SAFETY: the block is alive, and its bytes were initialised when it was allocated.
        let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
        if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
            FOUND.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn provider(group: &'static dyn SupportedKxGroup) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![group],
        ..default_provider()
    }
}

/// The bytes that each of 256 parked handshakes holds, and the size of its hello.
fn parked(group: &'static dyn SupportedKxGroup) -> (isize, usize) {
    const COUNT: isize = 256;
    let world = World::new(Want { provider: provider(group), ..Want::default() });
    let config = world.replay();
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    let (hello, mut out) = (pair.to_server, Vec::new());
    let park = |out: &mut Vec<u8>| {
        let mut session = Session::new(config.clone(), SessionOptions::default());
        assert_eq!(session.hear(&hello, out), Ok(SessionStage::Parked));
        session
    };
    let forget_names = || drop(std::mem::take(&mut *world.resolver.names.lock().unwrap()));
    // What is allocated once for all.
    drop(park(&mut out));
    forget_names();
    let before = ALIVE.get();
    let sessions: Vec<Session> = (0..COUNT).map(|_| park(&mut out)).collect();
    forget_names();
    let alive = ALIVE.get() - before;
    drop(sessions);
    assert_eq!(ALIVE.get(), before, "nothing is left");
    (alive / COUNT, hello.len())
}

#[test]
fn a_parked_handshake_holds_less_than_two_kilobytes() {
    let (bytes, hello) = parked(kx_group::X25519);
    println!("{bytes} bytes, the hello has {hello}");
    assert!(hello <= 240 && bytes <= 2048, "{bytes} bytes, the hello has {hello}");
    let (bytes, hello) = parked(kx_group::X25519MLKEM768);
    println!("{bytes} bytes, the hello has {hello}, with ML-KEM");
    assert!(bytes <= 4608, "{bytes} bytes, the hello has {hello}");
}

/// Stands for X25519 and always has the same secret.
#[derive(Debug)]
struct Known;

impl SupportedKxGroup for Known {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        kx_group::X25519.start()
    }

    fn start_and_complete(&self, _: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let secret = SharedSecret::from(&SECRET[..]);
        Ok(CompletedKeyExchange { group: self.name(), pub_key: vec![9; 32], secret })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[test]
fn the_shared_secret_is_wiped() {
    let client_groups = Some(vec![kx_group::X25519]);
    let world = World::new(Want { provider: provider(&Known), client_groups, ..Want::default() });
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    drop(pair);
    let mut pair = world.pair();
    pair.client_turn().unwrap();
    assert_eq!(pair.server_turn(), Ok(SessionStage::Parked));
    let signature = world.device.answer(pair.session());
    assert_eq!(pair.resume(signature), Ok(SessionStage::Established));
    drop(pair);
    assert_eq!(FOUND.load(Ordering::Relaxed), 0);
    // The search itself works.
    drop(SECRET.to_vec());
    assert_eq!(FOUND.load(Ordering::Relaxed), 1);
}
