//! Modules with several owners: other parts of the process that initialize and finalize them, and several tokens.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use pkcs11_engine::{Ended, KeyUri, Token};

use crate::faults::{LONG, assert_nothing_left, crowd, end, two_tokens};
use crate::shim::{self, Page, Word};
use crate::world::{World, in_own_process};

/// Finalizes the module, as another part of the process may do that thinks it is its own.
fn finalize_elsewhere(world: &World) {
    Pkcs11::new(&world.softhsm).unwrap().finalize().unwrap();
}

fn initialize_elsewhere(world: &World) {
    let other = Pkcs11::new(&world.softhsm).unwrap();
    other.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
}

#[test]
fn a_module_that_another_owner_finalizes_is_initialized_again() {
    let test = "owners::a_module_that_another_owner_finalizes_is_initialized_again";
    in_own_process(test, |world| {
        for ours in [true, false] {
            if !ours {
                initialize_elsewhere(world);
            }
            let token = world.open();
            let key = token.key(world.chain("p256")).unwrap();
            let crowd = crowd(world, &key, "p256");
            assert_eq!(crowd.run(16), [""; 0]);
            for round in 1..=3 {
                finalize_elsewhere(world);
                assert_eq!(crowd.run(32), [""; 0], "{round}: {:?}", token.stats());
                assert_eq!(token.stats().restarts, round, "{:?}", token.stats());
            }
            // What finds that out may also be a key, or a token, that is opened.
            finalize_elsewhere(world);
            let other = "pkcs11:object=rsa2048".parse().unwrap();
            drop(token.key_named(&other, world.chain("rsa2048")).unwrap());
            finalize_elsewhere(world);
            let second = world.open();
            drop(second.key(world.chain("p256")).unwrap());
            assert_eq!(crowd.run(16), [""; 0]);
            assert_eq!(second.shutdown_blocking(LONG), Ended::InUse);
            assert_nothing_left(&token);
            // The last to initialize it finalizes it.
            end(&token);
        }
    });
}

#[test]
fn a_key_that_is_opened_and_finds_the_module_finalized_leaves_no_session_of_before() {
    let test =
        "owners::a_key_that_is_opened_and_finds_the_module_finalized_leaves_no_session_of_before";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let token = world.builder(&module, "p256").sessions(8).open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        // All sessions are open, and idle.
        page.set(Word::DelayUs, 20_000);
        assert_eq!(crowd.run(32), [""; 0]);
        page.set(Word::DelayUs, 0);
        Pkcs11::new(&module).unwrap().finalize().unwrap();
        let other = "pkcs11:object=rsa2048".parse().unwrap();
        drop(token.key_named(&other, world.chain("rsa2048")).unwrap());
        assert_eq!(crowd.run(32), [""; 0]);
        let stats = token.stats();
        assert_eq!((stats.restarts, stats.rests), (1, 0), "{stats:?}");
        // Nor has a request met one, for which it would have had to rest.
        assert_eq!((stats.failures.session, token.pool().stats().attempts_again), (0, 0));
        assert_nothing_left(&token);
        end(&token);
    });
}

#[test]
fn a_client_whose_server_was_started_again_is_finalized_and_initialized() {
    let test = "owners::a_client_whose_server_was_started_again_is_finalized_and_initialized";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let token = world.builder(&module, "p256").open().unwrap();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        assert_eq!(crowd.run(16), [""; 0]);
        page.set(Word::ServerGone, 1);
        assert_eq!(crowd.run(32), [""; 0], "{:?}", token.stats());
        assert_eq!((page.get(Word::Finalizes), token.stats().rests), (1, 0));
        assert_nothing_left(&token);
        // It is ours still.
        end(&token);
    });
}

#[test]
fn a_module_that_one_token_found_in_other_hands_is_left_alone_by_all() {
    let test = "owners::a_module_that_one_token_found_in_other_hands_is_left_alone_by_all";
    in_own_process(test, |world| {
        let page = Page::new(world.dir());
        let Some(module) = shim::module(world.dir()) else { return };
        let [(first, serving), (second, failing)] = two_tokens(world, &module, 1);
        // Another part of the process finalizes it, and is the faster one to initialize it.
        page.set(Word::ByAnother, 1);
        Pkcs11::new(&module).unwrap().finalize().unwrap();
        assert_eq!(serving.run(8), [""; 0], "{:?}", first.stats());
        // From here on no other token keeps the module from being restarted.
        assert_eq!(first.shutdown_blocking(LONG), Ended::InUse);
        let before = (page.get(Word::Initializes), page.get(Word::Finalizes));
        world.remove_token("other");
        let until = std::time::Instant::now() + LONG;
        while second.stats().rests < 3 {
            assert!(std::time::Instant::now() < until, "{:?}", second.stats());
            assert!(!failing.run(4).is_empty());
        }
        assert_eq!((page.get(Word::Initializes), page.get(Word::Finalizes)), before);
        assert_eq!(second.stats().restarts, 0, "{:?}", second.stats());
        assert_eq!(second.shutdown_blocking(LONG), Ended::InUse);
    });
}

/// It cannot be told from a token that was removed and returned.
#[test]
fn a_module_that_another_owner_restarts_between_two_calls_serves_again() {
    let test = "owners::a_module_that_another_owner_restarts_between_two_calls_serves_again";
    in_own_process(test, |world| {
        let token = world.open();
        let key = token.key(world.chain("p256")).unwrap();
        let crowd = crowd(world, &key, "p256");
        assert_eq!(crowd.run(16), [""; 0]);
        finalize_elsewhere(world);
        initialize_elsewhere(world);
        let until = std::time::Instant::now() + LONG;
        while !crowd.run(8).is_empty() {
            assert!(std::time::Instant::now() < until, "{:?}", token.stats());
        }
        assert_eq!(crowd.run(32), [""; 0]);
        assert_nothing_left(&token);
    });
}

#[test]
fn two_tokens_of_one_module_find_their_own_keys_after_each_restart_of_it() {
    let test = "owners::two_tokens_of_one_module_find_their_own_keys_after_each_restart_of_it";
    in_own_process(test, |world| {
        // The same label and identifier in both, and another key: a handle of the one would sign wrongly in the other.
        world.add_token("other", "p384");
        let open = |token: &str| {
            let uri = world.uri(&world.softhsm, "p384").to_string();
            let uri = uri.replace("token=web", &format!("token={token}"));
            Token::builder(uri.parse().unwrap()).deadline(LONG).open().unwrap()
        };
        let (first, second) = (open("web"), open("other"));
        let mail: KeyUri = "pkcs11:object=p256".parse().unwrap();
        let keys = [
            (first.key(world.chain("p384")).unwrap(), "p384"),
            (second.key(world.chain("p384")).unwrap(), "p384"),
            (first.key_named(&mail, world.chain("p256")).unwrap(), "p256"),
        ];
        let crowds = keys.each_ref().map(|(key, name)| crowd(world, key, name));
        let run = || {
            for crowd in &crowds {
                assert_eq!(crowd.run(16), [""; 0], "{:?} {:?}", first.stats(), second.stats());
            }
        };
        run();
        for _ in 0..4 {
            finalize_elsewhere(world);
            run();
        }
        for token in [&first, &second] {
            let stats = token.stats();
            assert_eq!((stats.failures.request, stats.failures.unclear), (0, 0), "{stats:?}");
            assert_eq!(token.pool().stats().check_failures, 0);
            assert_nothing_left(token);
        }
        assert_eq!(first.stats().restarts + second.stats().restarts, 4, "each by one of them");
        assert_eq!(first.shutdown_blocking(LONG), Ended::InUse);
        assert_eq!(crowds[1].run(4), [""; 0]);
        end(&second);
    });
}
