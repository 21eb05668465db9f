//! Tokens that lose sessions, logins or themselves, refuse PINs, have too few sessions, or answer wrongly. After each fault every
//! handshake has ended, nothing is left over, and the service is back without a restart.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use pkcs11_engine::{Ended, OpenError, Token};
use ssl_async::SlowKey;

use crate::crowd::Crowd;
use crate::shim::{self, Page, Word};
use crate::world::{World, child, in_own_process, in_processes};

/// How long a shutdown may take: until a test counts as hanging.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The deadline where calls do not return: a busy machine signs within it, and a test can wait for its end.
const STALLED: Duration = Duration::from_secs(3);

/// Nothing of the token's requests is left.
pub(crate) fn assert_nothing_left(token: &Token) {
    assert!(token.pool().engine().quiesce(LONG), "requests are left over");
    let stats = token.pool().stats();
    assert_eq!((stats.requests.now, stats.waiters.now), (0, 0));
}

pub(crate) fn end(token: &Token) {
    assert_eq!(token.shutdown_blocking(LONG), Ended::Finalized);
}

pub(crate) fn crowd(world: &World, key: &Arc<SlowKey>, name: &str) -> Crowd {
    Crowd::new(key, world.roots(name))
}

/// Two tokens of one module, `web` and `other`, and those that they have served. The other one tries a signature this often.
pub(crate) fn two_tokens(world: &World, module: &Path, attempts: u32) -> [(Token, Crowd); 2] {
    world.add_token("other", "p384");
    let web = world.builder(module, "p256").open().unwrap();
    let uri = world.uri(module, "p384").to_string().replace("token=web", "token=other");
    let other = Token::builder(uri.parse().unwrap()).attempts(attempts).open().unwrap();
    [(web, "p256"), (other, "p384")].map(|(token, name)| {
        let crowd = crowd(world, &token.key(world.chain(name)).unwrap(), name);
        assert_eq!(crowd.run(8), [""; 0]);
        (token, crowd)
    })
}

#[test]
fn a_wrong_pin_is_given_once_however_many_ask() {
    in_own_process("faults::a_wrong_pin_is_given_once_however_many_ask", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let open = |variable: &str, despite: bool| {
            let uri = format!(
                "pkcs11:token=web;object=p256?pin-source=env:{variable}&module-path={}",
                module.display()
            );
            Token::builder(uri.parse().unwrap()).despite_wrong_pin(despite).open()
        };
        let refused = open("WRONG_PIN", false).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::WrongPin(_)), "{refused}");
        assert_eq!(page.get(Word::Logins), 1, "the token has counted one wrong PIN");
        // The service is started again and again, with the same PIN, or another one.
        for variable in ["WRONG_PIN", "WEB_PIN"] {
            let refused = open(variable, false).map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::PinAtRisk(_)), "{refused}");
        }
        assert_eq!(page.get(Word::Logins), 1);
        let token = open("WEB_PIN", true).unwrap();
        assert_eq!(page.get(Word::Logins), 2);
        drop(token.key(world.chain("p256")).unwrap());
        end(&token);
    });
}

#[test]
fn a_pin_that_changes_while_the_key_serves_stops_all_threads_at_once_until_a_person_goes_on() {
    in_own_process(
        "faults::a_pin_that_changes_while_the_key_serves_stops_all_threads_at_once_until_a_person_goes_on",
        |world| {
            let page = Page::new(world.dir());
            let Some(module) = shim::module(world.dir()) else { return };
            let pin = world.path("pin");
            fs::write(&pin, "1234\n").unwrap();
            let uri = format!(
                "pkcs11:token=web;object=p256?pin-source=file:{}&module-path={}",
                pin.display(),
                module.display()
            );
            let token = Token::open(&uri).unwrap();
            let key = token.key(world.chain("p256")).unwrap();
            let crowd = crowd(world, &key, "p256");
            assert_eq!(crowd.run(16), [""; 0]);
            fs::write(&pin, "4321\n").unwrap();
            log_out(world, &module);
            let failed = crowd.run(64);
            assert!(!failed.is_empty(), "they cannot log in");
            assert_eq!(
                page.get(Word::Logins),
                2 + 1,
                "the first login, that of log_out, and one wrong one"
            );
            assert!(token.stats().is_stopped);
            // Nothing calls the token any more.
            let signs = page.get(Word::Signs);
            assert_eq!(crowd.run(16).len(), 16);
            assert_eq!((page.get(Word::Signs), page.get(Word::Logins)), (signs, 3));
            fs::write(&pin, "1234\n").unwrap();
            token.resume();
            assert_eq!(crowd.run(16), [""; 0]);
            assert!(!token.stats().is_stopped);
            assert_nothing_left(&token);
            end(&token);
        },
    );
}

#[test]
fn a_login_that_fails_for_an_unknown_reason_is_tried_twice_and_then_stops_the_token() {
    let test =
        "faults::a_login_that_fails_for_an_unknown_reason_is_tried_twice_and_then_stops_the_token";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let token = world.builder(&module, "p256").open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        log_out(world, &module);
        let before = page.get(Word::Logins);
        page.set(Word::FailLogin, 5); // CKR_GENERAL_ERROR
        assert_eq!(crowd.run(32).len(), 32);
        assert_eq!(page.get(Word::Logins), before + 2, "the token may have counted each of them");
        assert!(token.stats().is_stopped);
        page.set(Word::FailLogin, 0);
        assert_eq!(crowd.run(4).len(), 4);
        assert_eq!(page.get(Word::Logins), before + 2);
        token.resume();
        assert_eq!(crowd.run(16), [""; 0]);
        assert_eq!(page.get(Word::Logins), before + 3);
        // An error before the token has seen the PIN stops nothing.
        log_out(world, &module);
        page.set(Word::FailLogin, 0xB3); // CKR_SESSION_HANDLE_INVALID
        let failed = crowd.begin(8);
        crowd.run_until(|| token.stats().rests > 2);
        page.set(Word::FailLogin, 0);
        assert_eq!(crowd.end(failed), [""; 0], "{:?}", token.stats());
        assert!(!token.stats().is_stopped);
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_key_that_is_opened_recovers_a_token_at_rest() {
    in_own_process("faults::a_key_that_is_opened_recovers_a_token_at_rest", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let builder = world.builder(&module, "p256").deadline(STALLED).attempts(1);
        let token = builder.open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        // It is stopped, and a person goes on.
        log_out(world, &module);
        page.set(Word::FailLogin, 0xA0); // CKR_PIN_INCORRECT
        assert_eq!(crowd.run(8).len(), 8);
        assert!(token.stats().is_stopped);
        page.set(Word::FailLogin, 0);
        token.resume();
        drop(token.key(world.chain("p256")).unwrap());
        assert_eq!(crowd.run(8), [""; 0], "{:?}", token.stats());
        // It rests, and the rest ends.
        log_out(world, &module);
        page.set(Word::FailLogin, 0xB3); // CKR_SESSION_HANDLE_INVALID
        let until = std::time::Instant::now() + LONG;
        while token.stats().rests == 0 {
            assert!(std::time::Instant::now() < until, "{:?}", token.stats());
            assert!(!crowd.run(4).is_empty());
        }
        page.set(Word::FailLogin, 0);
        let other = "pkcs11:object=rsa2048".parse().unwrap();
        while token.key_named(&other, world.chain("rsa2048")).is_err() {
            assert!(std::time::Instant::now() < until, "{:?}", token.stats());
        }
        assert_eq!(crowd.run(8), [""; 0], "{:?}", token.stats());
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_token_that_is_away_does_not_restart_the_module_under_one_that_signs() {
    let test = "faults::a_token_that_is_away_does_not_restart_the_module_under_one_that_signs";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let [(well, serving), (away, failing)] = two_tokens(world, &module, 2);
        world.remove_token("other");
        for _ in 0..8 {
            assert_eq!(serving.run(8), [""; 0]);
            assert!(!failing.run(4).is_empty());
        }
        assert!(away.stats().rests > 0, "{:?}", away.stats());
        assert_eq!(page.get(Word::Finalizes), 0, "the other token was disturbed");
        assert_eq!(well.stats().failures, Default::default());
        assert_eq!(away.shutdown_blocking(LONG), Ended::InUse);
        end(&well);
    });
}

#[test]
fn an_empty_pin_is_not_given() {
    in_own_process("faults::an_empty_pin_is_not_given", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let builder = || world.builder(&module, "p256");
        let refused = builder().pin(|| Ok(String::new())).open().map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::NoPin(_)), "{refused}");
        assert_eq!(page.get(Word::Logins), 0);
        end(&builder().open().unwrap());
    });
}

#[test]
fn a_token_that_was_shut_down_is_not_started_again_by_its_keys() {
    in_own_process(
        "faults::a_token_that_was_shut_down_is_not_started_again_by_its_keys",
        |world| {
            let page = Page::new(world.dir());
            let Some(module) = shim::module(world.dir()) else { return };
            let open = || world.builder(&module, "p256").open().unwrap();
            let token = open();
            drop(token.key(world.chain("p256")).unwrap());
            end(&token);
            let logins = page.get(Word::Logins);
            let refused = token.key(world.chain("p256")).map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::ShutDown), "{refused}");
            // Also while another token has the module initialized.
            let other = open();
            let refused = token.key(world.chain("p256")).map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::ShutDown), "{refused}");
            assert_eq!(page.get(Word::Logins), logins + 1);
            // The end is told as often as it is asked for, and the other token is untouched by it.
            end(&token);
            drop(other.key(world.chain("p256")).unwrap());
            end(&other);
        },
    );
}

#[test]
fn a_second_shutdown_waits_for_what_the_first_one_is_stuck_in() {
    in_own_process("faults::a_second_shutdown_waits_for_what_the_first_one_is_stuck_in", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let token = world.builder(&module, "p256").open().unwrap();
        page.set(Word::BlockClose, 1);
        // The threads of the pool may take a while to end.
        while page.get(Word::Closing) == 0 {
            let stuck = token.shutdown_blocking(Duration::ZERO);
            assert!(matches!(stuck, Ended::Stuck { .. }), "{stuck:?}");
        }
        assert_eq!(token.shutdown_blocking(Duration::ZERO), Ended::Stuck { calls: 1 });
        assert_eq!((page.get(Word::Closing), page.get(Word::Finalizes)), (1, 0));
        page.set(Word::BlockClose, 0);
        end(&token);
        end(&token);
        assert_eq!(page.get(Word::Finalizes), 1);
    });
}

/// Logs the whole process out, as another part of it may do.
fn log_out(world: &World, module: &Path) {
    let other = Pkcs11::new(module).unwrap();
    let again = other.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    assert!(again.is_err(), "the module is in use");
    let slot = other.get_slots_with_initialized_token().unwrap()[0];
    let session = other.open_ro_session(slot).unwrap();
    // The answer is that somebody is logged in already; what counts is the call.
    let _ = session.login(UserType::User, Some(&crate::world::PIN.to_owned().into()));
    session.logout().unwrap();
    let _ = world;
}

#[test]
fn a_logout_under_load_costs_no_handshake() {
    in_own_process("faults::a_logout_under_load_costs_no_handshake", |world| {
        let token = world.open();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        for round in 0..20 {
            let handshakes = crowd.begin(32);
            log_out(world, &world.softhsm);
            assert_eq!(crowd.end(handshakes), [""; 0], "round {round}");
        }
        // A key that is opened now finds no login, and makes one.
        log_out(world, &world.softhsm);
        let other = "pkcs11:object=rsa2048".parse().unwrap();
        token.key_named(&other, world.chain("rsa2048")).unwrap();
        let stats = token.stats();
        assert!(stats.logins > 0 && stats.restarts == 0, "{stats:?}");
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_token_that_is_removed_and_returned_serves_again() {
    in_own_process("faults::a_token_that_is_removed_and_returned_serves_again", |world| {
        let token = world.builder(&world.softhsm, "p256").attempts(4).open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        assert_eq!(crowd.run(32), [""; 0]);
        fs::rename(world.path("tokens"), world.path("away")).unwrap();
        fs::create_dir(world.path("tokens")).unwrap();
        let failed = crowd.run(64);
        assert!(!failed.is_empty(), "the key is away: {:?}", token.stats());
        assert_nothing_left(&token);
        fs::remove_dir(world.path("tokens")).unwrap();
        fs::rename(world.path("away"), world.path("tokens")).unwrap();
        // A handshake waits for the end of the rest, and finds the token again.
        let until = std::time::Instant::now() + LONG;
        while !crowd.run(8).is_empty() {
            assert!(
                std::time::Instant::now() < until,
                "the token is not found again: {:?}",
                token.stats()
            );
        }
        assert_eq!(crowd.run(64), [""; 0]);
        let stats = token.stats();
        assert!(stats.restarts > 0 && !stats.is_stopped, "{stats:?}");
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_token_with_few_sessions_serves_with_those() {
    in_own_process("faults::a_token_with_few_sessions_serves_with_those", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let open = || world.builder(&module, "p256").sessions(8).open().unwrap();
        // It tells its limit.
        page.set(Word::Sessions, 3);
        page.set(Word::SessionsTold, 3);
        let token = open();
        let key = token.key(world.chain("p256")).unwrap();
        assert_eq!(crowd(world, &key, "p256").run(64), [""; 0]);
        assert_eq!(token.stats().failures, Default::default());
        assert_nothing_left(&token);
        end(&token);
        // It does not: all that is known is the refusal.
        page.set(Word::SessionsTold, 0);
        page.set(Word::DelayUs, 1000);
        let token = open();
        let key = token.key(world.chain("p256")).unwrap();
        assert_eq!(crowd(world, &key, "p256").run(64), [""; 0]);
        assert!(page.get(Word::SessionsNow) <= 3);
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_module_that_answers_garbage_fails_handshakes_and_no_wrong_signature_leaves() {
    in_own_process(
        "faults::a_module_that_answers_garbage_fails_handshakes_and_no_wrong_signature_leaves",
        |world| {
            let page = Page::new(world.dir());
            let Some(module) = shim::module(world.dir()) else { return };
            let token = world.builder(&module, "rsa2048").open().unwrap();
            let key = token.key(world.chain("rsa2048")).unwrap();
            let crowd = crowd(world, &key, "rsa2048");
            for (word, value) in [
                (Word::Garbage, 1),
                (Word::Garbage, 2),
                (Word::FailSign, 5),
                (Word::FailSign, 0x8000_0001),
            ] {
                page.set(word, value);
                let failed = crowd.run(24);
                assert_eq!(failed.len(), 24, "{word:?} {value}");
                // The server fails, and not the client, which would have seen the signature.
                assert!(failed.iter().all(|error| !error.starts_with("client")), "{failed:?}");
                page.set(word, 0);
                let until = std::time::Instant::now() + LONG;
                while !crowd.run(8).is_empty() {
                    assert!(
                        std::time::Instant::now() < until,
                        "{word:?} {value}: {:?}",
                        token.stats()
                    );
                }
            }
            assert_nothing_left(&token);
            end(&token);
        },
    );
}

/// However little is wrong with it, and whatever the scheme.
#[test]
fn no_wrong_signature_leaves_a_token_in_any_scheme() {
    in_own_process("faults::no_wrong_signature_leaves_a_token_in_any_scheme", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let token = world.builder(&module, "p256").open().unwrap();
        let mut n = 0;
        for name in ["rsa2048", "rsa4096", "p256", "p384", "ed25519"] {
            let uri = format!("pkcs11:object={name}").parse().unwrap();
            let key = token.key_named(&uri, world.chain(name)).unwrap();
            for scheme in key.schemes() {
                let signer = key.certified_key().key.choose_scheme(&[*scheme]).unwrap();
                assert!(signer.sign(b"a transcript").is_ok(), "{name} {scheme:?}");
                for garbage in [1, 2, 3] {
                    let (signs, given) = (page.get(Word::Signs), token.pool().stats().completed);
                    page.set(Word::Garbage, garbage);
                    let signed = signer.sign(b"a transcript");
                    page.set(Word::Garbage, 0);
                    assert!(signed.is_err(), "{name} {scheme:?} {garbage}: {signed:?}");
                    assert!(page.get(Word::Signs) > signs, "the module was asked");
                    assert_eq!(token.pool().stats().completed, given);
                }
                n += 1;
            }
            // Nor in a handshake, where the client would see it.
            let crowd = crowd(world, &key, name);
            page.set(Word::Garbage, 3);
            let failed = crowd.run(4);
            page.set(Word::Garbage, 0);
            assert_eq!(failed.len(), 4, "{name}");
            assert!(failed.iter().all(|error| !error.starts_with("client")), "{failed:?}");
            assert_eq!(crowd.run(4), [""; 0], "{name}");
        }
        assert_eq!(n, 6 + 6 + 1 + 1 + 1);
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn calls_that_do_not_return_cost_their_handshakes_and_are_replaced_and_nothing_is_finalized_under_them()
 {
    let test = "faults::calls_that_do_not_return_cost_their_handshakes_and_are_replaced_and_nothing_is_finalized_under_them";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let builder = world.builder(&module, "p256").sessions(2);
        let token = builder.deadline(STALLED).open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        page.set(Word::Block, 1);
        let failed = crowd.run(16);
        assert_eq!(failed.len(), 16);
        assert!(page.get(Word::Inside) >= 2);
        // The breaker opens, and refuses without a wait.
        let until = std::time::Instant::now() + LONG;
        while token.pool().stats().trips == 0 {
            assert!(std::time::Instant::now() < until, "the breaker does not open");
            assert_eq!(crowd.run(4).len(), 4);
        }
        // The library is whole while it is called; only `_exit` would be safe.
        assert!(
            matches!(token.shutdown_blocking(Duration::from_millis(100)), Ended::Stuck { calls } if calls > 0)
        );
        assert_eq!(page.get(Word::Finalizes), 0);
        page.set(Word::Block, 0);
        // The calls return, and now it can end.
        let until = std::time::Instant::now() + LONG;
        while token.shutdown_blocking(LONG) != Ended::Finalized {
            assert!(std::time::Instant::now() < until, "it does not end");
        }
        assert_eq!((page.get(Word::Finalizes), page.get(Word::Inside)), (1, 0));
        assert_nothing_left(&token);
    });
}

#[test]
fn threads_in_place_of_stuck_ones_serve() {
    in_own_process("faults::threads_in_place_of_stuck_ones_serve", |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let builder = world.builder(&module, "p256").sessions(2);
        let token = builder.deadline(STALLED).open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        // Two calls hang for ever; later ones do not.
        page.set(Word::Block, 1);
        let hanging = crowd.begin(2);
        crowd.run_until(|| page.get(Word::Inside) == 2);
        assert_eq!(crowd.end(hanging).len(), 2);
        page.set(Word::Block, 2);
        let until = std::time::Instant::now() + LONG;
        while !crowd.run(8).is_empty() {
            assert!(std::time::Instant::now() < until, "no thread takes their place");
        }
        assert_eq!(page.get(Word::Inside), 2, "they hang still");
        page.set(Word::Block, 0);
        end(&token);
        assert_nothing_left(&token);
    });
}

#[test]
fn a_process_ends_a_hundred_times_under_load_after_the_shutdown() {
    let test = "faults::a_process_ends_a_hundred_times_under_load_after_the_shutdown";
    let body = |world: &World| {
        let token = world.open();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        let handshakes = crowd.begin(32);
        crowd.run_until(|| token.stats().signatures > 4);
        end(&token);
        // Those that were under way have failed.
        let _ = crowd.end(handshakes);
        assert_nothing_left(&token);
        std::process::exit(0);
    };
    in_processes(test, body, |softhsm, dir| {
        for round in 0..100 {
            let run = child(test, softhsm, dir);
            assert!(run.status.success(), "round {round}: {}: {}", run.status, run.text);
        }
    });
}

#[test]
fn a_module_that_crashes_at_exit_has_cost_no_handshake() {
    let test = "faults::a_module_that_crashes_at_exit_has_cost_no_handshake";
    let body = |world: &World| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        page.set(Word::CrashAtExit, 1);
        let token = world.builder(&module, "p256").open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        assert_eq!(crowd(world, &key, "p256").run(32), [""; 0]);
        end(&token);
        println!("all have ended");
        std::process::exit(0);
    };
    in_processes(test, body, |softhsm, dir| {
        let run = child(test, softhsm, dir);
        assert!(
            run.text.contains("all have ended") || run.text.contains("skipped"),
            "{}",
            run.text
        );
    });
}
