//! Real cryptography on a job's default stack: every scheme that rustls's providers sign and verify, alone and in
//! handshakes, between two parked jobs whose stacks must not change. The release build matters, because users run its stack
//! frames.

mod identities;
mod need;
#[allow(dead_code, reason = "other tests use the rest of the pipe")]
#[path = "../it/support/pipe.rs"]
mod pipe;

use std::hint::black_box;
use std::sync::Arc;

use job_core::{Job, JobPool, Step, pause};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ServerConfig};
use ssl_async::{Outcome, Ssl, SslContext, SslError};

use identities::{ALGORITHMS, Chain, localhost, providers, verification};
use pipe::pipe;

/// Bytes at the top of each neighbour's stack that must not change.
const CANARY: usize = 48 * 1024;

/// A pool whose next job runs between two parked ones.
struct Neighbourhood {
    pool: JobPool,
    neighbours: Vec<Job<usize>>,
}

impl Neighbourhood {
    fn new() -> Self {
        let pool = JobPool::new();
        let mut parked: Vec<Job<usize>> = (0..3_u8)
            .map(|number| {
                let pattern = 0xA0 | number;
                let step = pool.start(move || {
                    let canary = black_box([pattern; CANARY]);
                    let _resumed_by_the_end = pause();
                    black_box(&canary).iter().filter(|&&byte| byte != pattern).count()
                });
                step.expect("a job").paused().expect("it pauses")
            })
            .collect();
        // The next job gets the stack in the middle.
        drop(parked.remove(1));
        Self { pool, neighbours: parked }
    }

    fn run<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> T {
        match self.pool.start(f).unwrap_or_else(|error| panic!("no job: {error}")) {
            Step::Finished(value) => value,
            Step::Paused(_) => unreachable!("nothing in here pauses"),
        }
    }

    fn check(self, what: &str) {
        for job in self.neighbours {
            let Step::Finished(changed) = job.resume() else { unreachable!("it pauses once") };
            assert_eq!(changed, 0, "{what} wrote into the stack of another job");
        }
    }
}

#[test]
fn l5_every_scheme_signs_and_verifies_on_the_default_stack() {
    for provider in providers() {
        let mut verified = Vec::new();
        for algorithm in ALGORITHMS.iter().filter(|algorithm| provider.takes(algorithm)) {
            let pair = algorithm.pair();
            let der: PrivateKeyDer<'static> = pair.serialize_der().try_into().expect("PKCS#8");
            let key = provider.crypto.key_provider.load_private_key(der).expect("a key");
            for (scheme, verifiers) in verification(&provider) {
                let Some(signer) = key.choose_scheme(&[scheme]) else { continue };
                let there = Neighbourhood::new();
                let signature =
                    there.run(move || signer.sign(b"a transcript").expect("a signature"));
                let good = verifiers.iter().filter(|verifier| {
                    let (verifier, signature) = (**verifier, signature.clone());
                    let public = pair.public_key_raw().to_vec();
                    there.run(move || {
                        verifier.verify_signature(&public, b"a transcript", &signature).is_ok()
                    })
                });
                let what = format!("{scheme:?} of {} with {}", provider.name, algorithm.name);
                assert!(good.count() > 0, "{what} does not verify");
                there.check(&what);
                verified.push(scheme);
            }
        }
        for (scheme, _) in verification(&provider) {
            assert!(verified.contains(&scheme), "{}: no key for {scheme:?}", provider.name);
        }
    }
}

/// The result of a handshake at both ends, as text.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, on_jobs: bool) -> [String; 2] {
    let there = Neighbourhood::new();
    let (ours, theirs) = pipe();
    let context = SslContext::server(Arc::clone(server)).async_mode(on_jobs);
    let mut server = Ssl::accept(&context, &there.pool, ours).expect("a session");
    let context = SslContext::client(Arc::clone(client)).async_mode(on_jobs);
    let mut client = Ssl::connect(&context, &there.pool, localhost(), theirs);
    let mut ends: [Option<Result<(), SslError>>; 2] = [None, None];
    for _ in 0..20 {
        let steps = [client.do_handshake(), server.do_handshake()];
        for (end, step) in ends.iter_mut().zip(steps) {
            match step {
                Ok(Outcome::Ready(())) => *end = Some(Ok(())),
                Ok(_) => {}
                Err(error) => *end = Some(Err(error)),
            }
        }
        if let [Some(client), Some(server)] = &ends {
            let in_words = |end: &Result<(), SslError>| match end {
                Ok(()) => "done".to_owned(),
                Err(error) => error.to_string(),
            };
            there.check("a handshake");
            return [in_words(client), in_words(server)];
        }
    }
    panic!("the handshake does not end: {client:?}, {server:?}")
}

#[test]
fn l5_handshakes_with_every_key_and_chain_fit_on_the_default_stack() {
    let mut tried = 0;
    for provider in providers() {
        for algorithm in ALGORITHMS.iter().filter(|algorithm| provider.takes(algorithm)) {
            // rustls allows six intermediates: seven certificates verify, ten are too many.
            for length in [1, 7, algorithm.longest_chain] {
                let chain = Chain::new(algorithm, length);
                for version in provider.versions(algorithm) {
                    for mutual in [false, true] {
                        let server = chain.server(&provider, version, mutual);
                        let client = chain.client(&provider, version);
                        let outcome = shake(&server, &client, true);
                        assert_eq!(
                            outcome,
                            shake(&server, &client, false),
                            "beside the same without jobs"
                        );
                        if length <= 7 {
                            assert_eq!(
                                outcome,
                                ["done", "done"],
                                "{} of {}",
                                algorithm.name,
                                provider.name
                            );
                        }
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn l5_a_post_quantum_exchange_with_a_post_quantum_chain_fits_on_the_default_stack() {
    let provider = providers()[0].with_exchange(kx_group::X25519MLKEM768);
    for algorithm in ALGORITHMS.iter().filter(|algorithm| algorithm.is_post_quantum()) {
        let chain = Chain::new(algorithm, 7);
        let server = chain.server(&provider, &rustls::version::TLS13, true);
        let outcome = shake(&server, &chain.client(&provider, &rustls::version::TLS13), true);
        assert_eq!(outcome, ["done", "done"], "{}", algorithm.name);
    }
}
