//! Callbacks and their arguments, of context and session, set and removed at any time, against a model.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex};

use job_core::JobPool;
use proptest::prelude::*;
use rustls::version::TLS13;
use ssl_async::{AsyncCallback, Outcome, Ssl, SslContext, wait_ctx::CallbackArg};

use crate::support::{KeyType, Pipe, fixture, pipe};

/// One change. Numbers identify callbacks and arguments.
#[derive(Clone, Copy, Debug)]
enum Change {
    Callback(Option<u8>),
    Arg(Option<u8>),
    /// Requests the session's descriptor; a context has none.
    Descriptor,
}

fn any_changes() -> impl Strategy<Value = Vec<Change>> {
    let number = || prop::option::weighted(0.6, any::<u8>());
    let change = prop_oneof![
        3 => number().prop_map(Change::Callback),
        2 => number().prop_map(Change::Arg),
        1 => Just(Change::Descriptor),
    ];
    prop::collection::vec(change, 0..3)
}

/// Which callback was called, with which argument.
type Call = (u8, Option<u8>);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Call>>>);

impl Log {
    fn callback(&self, number: u8) -> AsyncCallback {
        let log = Arc::clone(&self.0);
        Arc::new(move |_, why| log.lock().unwrap().push((number, why.arg().copied())))
    }
}

/// The expected calls: the last callback and argument set count, wherever and whenever they were set.
#[derive(Debug, Default)]
struct Model {
    callback: Option<u8>,
    arg: Option<u8>,
    has_descriptor: bool,
    /// A wake had no route.
    is_owed: bool,
    calls: Vec<Call>,
    is_raised: bool,
}

impl Model {
    fn wake(&mut self) {
        match self.callback {
            Some(number) => self.calls.push((number, self.arg)),
            None if self.has_descriptor => self.is_raised = true,
            None => self.is_owed = true,
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Callback(callback) => self.callback = callback,
            Change::Arg(arg) => self.arg = arg,
            Change::Descriptor => self.has_descriptor = true,
        }
        let has_a_way = self.callback.is_some() || self.has_descriptor;
        if has_a_way && std::mem::take(&mut self.is_owed) {
            self.wake();
        }
    }
}

fn arg(number: u8) -> CallbackArg {
    Arc::new(number)
}

fn change_session(ssl: &Ssl<Pipe>, model: &mut Model, log: &Log, changes: &[Change]) {
    for change in changes {
        match *change {
            Change::Callback(number) => ssl.set_async_callback(number.map(|n| log.callback(n))),
            Change::Arg(number) => ssl.set_async_callback_arg(number.map(arg)),
            Change::Descriptor => drop(ssl.async_fd().unwrap()),
        }
        model.change(*change);
    }
}

fn change_context(context: &mut SslContext, log: &Log, changes: &[Change]) {
    for change in changes {
        match *change {
            Change::Callback(number) => context.set_async_callback(number.map(|n| log.callback(n))),
            Change::Arg(number) => context.set_async_callback_arg(number.map(arg)),
            Change::Descriptor => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_callback_and_the_argument_set_last_count_wherever_and_whenever(
        of_the_context in any_changes(),
        too_late in any_changes(),
        before in any_changes(),
        while_parked in any_changes(),
        after in any_changes(),
    ) {
        let (mut fixture, pool, log) = (fixture(KeyType::P256, 4), JobPool::new(), Log::default());
        let mut model = Model::default();
        change_context(&mut fixture.server, &log, &of_the_context);
        for change in of_the_context {
            match change {
                Change::Descriptor => {}
                other => model.change(other),
            }
        }
        let (ours, theirs) = pipe();
        let mut client = fixture.client(&TLS13, theirs);
        client.step();
        let mut ssl = Ssl::accept(&fixture.server, &pool, ours).unwrap();
        // Later changes to a context are for later sessions.
        change_context(&mut fixture.server, &log, &too_late);
        change_session(&ssl, &mut model, &log, &before);
        prop_assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantAsync);
        change_session(&ssl, &mut model, &log, &while_parked);
        fixture.device.answer();
        model.wake();
        change_session(&ssl, &mut model, &log, &after);
        prop_assert_eq!(&*log.0.lock().unwrap(), &model.calls);
        if model.has_descriptor {
            let mut fd = File::from(ssl.async_fd().unwrap().try_clone_to_owned().unwrap());
            prop_assert_eq!(fd.read(&mut [0; 8]).is_ok(), model.is_raised);
        }
        prop_assert_eq!(ssl.do_handshake().unwrap(), Outcome::WantRead);
        client.step();
        prop_assert_eq!(ssl.do_handshake().unwrap(), Outcome::Ready(()));
        prop_assert_eq!(log.0.lock().unwrap().len(), model.calls.len(), "one wake, one call");
    }
}
