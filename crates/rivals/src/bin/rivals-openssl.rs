//! OpenSSL with `SSL_MODE_ASYNC` on an event loop, and a key that pauses its job, as an engine does: `ASYNC_pause_job` until the
//! answer is there, and `SSL_set_async_callback` to learn of it.
//!
//! The session reads and writes buffers in memory, which this program moves to and from the connection: whatever a BIO does
//! runs on the job's stack of 32 KiB, and a client in memory needs more.

use std::cell::RefCell;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::{mem, ptr, slice};

use ffi::*;
use foreign_types::ForeignType as _;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    ErrorCode, Ssl, SslAcceptor, SslContext, SslMethod, SslMode, SslStream, SslVersion,
};
use openssl::x509::X509;
use openssl_sys::{BIGNUM, EC_KEY, RSA, SSL};
use rivals::{Connection, EventLoop, Incoming, Problem, Server, Site, Suite, WAKES};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

struct OpenSsl {
    free: bool,
}

fn main() -> ExitCode {
    rivals::program::run(&[&OpenSsl { free: true }, &OpenSsl { free: false }]).unwrap_or_else(
        || {
            lab_report::output::eprint_line("a part of cargo xtask bench --rivals");
            ExitCode::from(2)
        },
    )
}

impl Server for OpenSsl {
    fn name(&self) -> &'static str {
        if self.free { "openssl-free" } else { "openssl-async" }
    }

    fn title(&self) -> &'static str {
        match self.free {
            false => "OpenSSL, SSL_MODE_ASYNC and a key that pauses",
            true => "OpenSSL, signature for free",
        }
    }

    fn own_free(&self) -> &'static str {
        "openssl-free"
    }

    fn sources(&self) -> &'static [&'static str] {
        &[include_str!("rivals-openssl.rs"), include_str!("../event_loop.rs")]
    }

    // [user code]
    fn serve(&self, site: &Arc<Site>, incoming: &Incoming) -> Result<(), Problem> {
        let mut context = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_num_tickets(0)?;
        context.set_mode(SslMode::from_bits_retain(SSL_MODE_ASYNC));
        context.set_certificate(&*X509::from_der(&site.chain[0])?)?;
        let key = slow_key(site, self.free)?;
        context.set_private_key(&key)?;
        // SAFETY: the context is alive, and the callback has the signature that is asked for.
        unsafe { SSL_CTX_set_async_callback(context.as_ptr(), Some(wake)) };
        let context = context.build().into_context();

        let mut events = EventLoop::new(site, incoming.clone())?;
        let woken = Arc::<Woken>::default();
        events.watch(&woken.fd, WAKES)?;
        let (mut sessions, mut ready) = (Slab::new(), Vec::new());
        loop {
            while let Some(io) = events.accept(sessions.vacant_key())? {
                let seat = Seat { woken: Arc::clone(&woken), token: sessions.vacant_key() };
                let token = sessions.insert(Session::new(&context, seat, io)?);
                if sessions[token].is_over() {
                    sessions.remove(token);
                }
                events.tick();
            }
            let sleep = woken.drain(&mut ready);
            events.wait(sleep, &mut ready)?;
            for token in ready.drain(..) {
                if sessions.get_mut(token).is_some_and(Session::is_over) {
                    sessions.remove(token);
                }
                events.tick();
            }
        }
    }
    // [end of user code]

    fn asks_key(&self) -> bool {
        !self.free
    }

    fn signs(&self) -> bool {
        !self.free
    }
}

// [user code]
/// What OpenSSL reads and writes.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Buffers {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = self.input.as_slice().read(into)?;
        self.input.drain(..size);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(size)
    }
}

impl Write for Buffers {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.output.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Session<T> {
    tls: SslStream<Buffers>,
    io: Connection<T>,
    _seat: Box<Seat>,
}

impl<T: Read + Write> Session<T> {
    fn new(context: &SslContext, seat: Seat, io: Connection<T>) -> Result<Self, Problem> {
        let (ssl, seat) = (Ssl::new(context)?, Box::new(seat));
        // SAFETY: the session is alive, and has the seat as long as it lives.
        unsafe {
            SSL_set_async_callback_arg(ssl.as_ptr(), ptr::from_ref(&*seat).cast_mut().cast())
        };
        Ok(Self { tls: SslStream::new(ssl, Buffers::default())?, io, _seat: seat })
    }

    /// Goes on with the handshake; whether the session is over, done or failed.
    fn is_over(&mut self) -> bool {
        let mut piece = [0; 4096];
        loop {
            let result = self.tls.accept();
            let output = mem::take(&mut self.tls.get_mut().output);
            // A flight fits into a socket's buffer.
            if !output.is_empty() && self.io.write_all(&output).is_err() {
                return true;
            }
            match result {
                Ok(()) => return true,
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => return error.code().as_raw() != SSL_ERROR_WANT_ASYNC,
            }
            match self.io.read(&mut piece) {
                Ok(0) => return true,
                Ok(size) => self.tls.get_mut().input.extend_from_slice(&piece[..size]),
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// Tokens of the sessions whose key has answered.
struct Woken {
    tokens: Mutex<Vec<usize>>,
    fd: OwnedFd,
}

impl Default for Woken {
    fn default() -> Self {
        let fd = eventfd(0, EventfdFlags::NONBLOCK).expect("the system has a descriptor left");
        Self { tokens: Mutex::default(), fd }
    }
}

impl Woken {
    fn push(&self, token: usize) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push(token);
        if tokens.len() == 1 {
            // It fails only if it is readable already.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Moves the tokens to `ready`; whether there were none, so that the loop may sleep.
    fn drain(&self, ready: &mut Vec<usize>) -> bool {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        ready.append(&mut tokens);
        ready.is_empty()
    }
}

/// A session's place: the argument of its callback.
struct Seat {
    woken: Arc<Woken>,
    token: usize,
}

/// `SSL_async_callback_fn`: called by the key's thread.
extern "C" fn wake(_: *mut SSL, seat: *mut c_void) -> c_int {
    // SAFETY: the session owns its seat, and does not end before this call, because its answer is locked until then.
    let Seat { woken, token } = unsafe { &*seat.cast::<Seat>() };
    woken.push(*token);
    1
}

thread_local! {
    /// The key of this thread's sessions.
    static KEY: RefCell<Option<(Arc<Site>, bool)>> = const { RefCell::new(None) };
}

/// The private key with methods that ask the slow key.
fn slow_key(site: &Arc<Site>, free: bool) -> Result<PKey<Private>, Problem> {
    KEY.set(Some((Arc::clone(site), free)));
    let software = PKey::private_key_from_pem(site.private_key_pem.as_bytes())?;
    match site.suite {
        Suite::P256 => {
            let key = software.ec_key()?;
            // SAFETY: a method of its own, never freed, whose functions have the signatures that are asked for.
            unsafe {
                let method = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
                let (mut setup, mut raw) = (None, None);
                EC_KEY_METHOD_get_sign(method, ptr::null_mut(), &mut setup, &mut raw);
                EC_KEY_METHOD_set_sign(method, Some(sign_ec), setup, raw);
                EC_KEY_set_method(key.as_ptr(), method);
            }
            Ok(PKey::from_ec_key(key)?)
        }
        Suite::Rsa2048 => {
            let key = software.rsa()?;
            // SAFETY: as above.
            unsafe {
                let method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
                RSA_meth_set_priv_enc(method, Some(sign_rsa));
                RSA_set_method(key.as_ptr(), method);
            }
            Ok(PKey::from_rsa(key)?)
        }
    }
}

/// A pointer of OpenSSL's that may be used by the key's thread.
#[derive(Clone, Copy)]
struct Shared<T>(T);

// SAFETY: a key and a job's callback may be used on any thread while their session waits.
unsafe impl<T> Send for Shared<T> {}

type Answer = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Pauses the job until `ask` has led to an answer; `None` outside a job.
fn pause_for(ask: impl FnOnce(Answer)) -> Option<Vec<u8>> {
    let (mut callback, mut arg) = (None, ptr::null_mut());
    // SAFETY: a job that runs has a wait context, which is alive as long as its session.
    let found = unsafe {
        let job = ASYNC_get_current_job();
        !job.is_null()
            && ASYNC_WAIT_CTX_get_callback(ASYNC_get_wait_ctx(job), &mut callback, &mut arg) == 1
    };
    let (true, Some(callback)) = (found, callback) else { return None };
    let answer = Arc::new(Mutex::new(None));
    let (place, arg) = (Arc::clone(&answer), Shared(arg));
    ask(Box::new(move |signature| {
        let arg = arg;
        // Locked until the callback has returned: a session that somebody else resumes must not end before that.
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(signature);
        // SAFETY: the session is alive, see above.
        unsafe { callback(arg.0) };
    }));
    loop {
        if let Some(signature) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(signature);
        }
        // SAFETY: in a job.
        if unsafe { ASYNC_pause_job() } == 0 {
            return None;
        }
    }
}

/// The answer to what `ask` asks the site, or garbage if signatures are free.
fn signature(ask: impl FnOnce(&Site, Answer)) -> Option<Vec<u8>> {
    let (site, free) = KEY.with_borrow(Clone::clone)?;
    if free { Some(site.garbage()) } else { pause_for(|answer| ask(&site, answer)) }
}

/// `ECDSA_sign` of the method.
unsafe extern "C" fn sign_ec(
    _: c_int,
    digest: *const c_uchar,
    length: c_int,
    into: *mut c_uchar,
    size: *mut c_uint,
    _: *const BIGNUM,
    _: *const BIGNUM,
    _: *mut EC_KEY,
) -> c_int {
    // SAFETY: OpenSSL gives this number of bytes.
    let digest = unsafe { slice::from_raw_parts(digest, length as usize) }.to_vec();
    let Some(signature) = signature(|site, answer| site.ask_digest(digest, answer)) else {
        return 0;
    };
    // SAFETY: there is room for the longest signature of this key.
    unsafe { ptr::copy_nonoverlapping(signature.as_ptr(), into, signature.len()) };
    // SAFETY: as OpenSSL says.
    unsafe { *size = signature.len() as c_uint };
    1
}

/// `rsa_priv_enc` of the method: the message has its padding.
unsafe extern "C" fn sign_rsa(
    length: c_int,
    padded: *const c_uchar,
    into: *mut c_uchar,
    key: *mut RSA,
    padding: c_int,
) -> c_int {
    // SAFETY: OpenSSL gives this number of bytes.
    let padded = unsafe { slice::from_raw_parts(padded, length as usize) }.to_vec();
    let key = Shared(key);
    let compute = move || {
        let key = key;
        let mut signature = vec![0; padded.len()];
        // SAFETY: OpenSSL's own method, for which a key may be used by several threads; the result is as long as the
        // modulus, as the padded message is.
        unsafe {
            let sign = RSA_meth_get_priv_enc(RSA_PKCS1_OpenSSL()).expect("its own method signs");
            sign(padded.len() as c_int, padded.as_ptr(), signature.as_mut_ptr(), key.0, padding);
        }
        signature
    };
    let Some(signature) = signature(|site, answer| site.key.ask(compute, answer)) else {
        return -1;
    };
    // SAFETY: there is room for the modulus.
    unsafe { ptr::copy_nonoverlapping(signature.as_ptr(), into, signature.len()) };
    signature.len() as c_int
}
// [end of user code]

/// What `openssl-sys` leaves out.
#[expect(non_camel_case_types, reason = "names of OpenSSL")]
mod ffi {
    use super::*;

    pub(super) enum ASYNC_JOB {}
    pub(super) enum ASYNC_WAIT_CTX {}
    pub(super) enum EC_KEY_METHOD {}
    pub(super) enum RSA_METHOD {}

    pub(super) const SSL_MODE_ASYNC: std::ffi::c_long = 0x100;
    pub(super) const SSL_ERROR_WANT_ASYNC: c_int = 9;

    pub(super) type JobCallback = unsafe extern "C" fn(*mut c_void) -> c_int;
    pub(super) type SslCallback = extern "C" fn(*mut SSL, *mut c_void) -> c_int;
    pub(super) type SignEc = unsafe extern "C" fn(
        c_int,
        *const c_uchar,
        c_int,
        *mut c_uchar,
        *mut c_uint,
        *const BIGNUM,
        *const BIGNUM,
        *mut EC_KEY,
    ) -> c_int;
    pub(super) type SignSetup = unsafe extern "C" fn(
        *mut EC_KEY,
        *mut openssl_sys::BN_CTX,
        *mut *mut BIGNUM,
        *mut *mut BIGNUM,
    ) -> c_int;
    pub(super) type SignRaw = unsafe extern "C" fn(
        *const c_uchar,
        c_int,
        *const BIGNUM,
        *const BIGNUM,
        *mut EC_KEY,
    ) -> *mut openssl_sys::ECDSA_SIG;
    pub(super) type SignRsa =
        unsafe extern "C" fn(c_int, *const c_uchar, *mut c_uchar, *mut RSA, c_int) -> c_int;

    unsafe extern "C" {
        pub(super) fn SSL_CTX_set_async_callback(
            context: *mut openssl_sys::SSL_CTX,
            callback: Option<SslCallback>,
        ) -> c_int;
        pub(super) fn SSL_set_async_callback_arg(session: *mut SSL, arg: *mut c_void) -> c_int;
        pub(super) fn ASYNC_get_current_job() -> *mut ASYNC_JOB;
        pub(super) fn ASYNC_get_wait_ctx(job: *mut ASYNC_JOB) -> *mut ASYNC_WAIT_CTX;
        pub(super) fn ASYNC_WAIT_CTX_get_callback(
            context: *mut ASYNC_WAIT_CTX,
            callback: *mut Option<JobCallback>,
            arg: *mut *mut c_void,
        ) -> c_int;
        pub(super) fn ASYNC_pause_job() -> c_int;
        pub(super) fn EC_KEY_OpenSSL() -> *const EC_KEY_METHOD;
        pub(super) fn EC_KEY_METHOD_new(method: *const EC_KEY_METHOD) -> *mut EC_KEY_METHOD;
        pub(super) fn EC_KEY_METHOD_get_sign(
            method: *const EC_KEY_METHOD,
            sign: *mut Option<SignEc>,
            setup: *mut Option<SignSetup>,
            raw: *mut Option<SignRaw>,
        );
        pub(super) fn EC_KEY_METHOD_set_sign(
            method: *mut EC_KEY_METHOD,
            sign: Option<SignEc>,
            setup: Option<SignSetup>,
            raw: Option<SignRaw>,
        );
        pub(super) fn EC_KEY_set_method(key: *mut EC_KEY, method: *const EC_KEY_METHOD) -> c_int;
        pub(super) fn RSA_PKCS1_OpenSSL() -> *const RSA_METHOD;
        pub(super) fn RSA_meth_dup(method: *const RSA_METHOD) -> *mut RSA_METHOD;
        pub(super) fn RSA_meth_get_priv_enc(method: *const RSA_METHOD) -> Option<SignRsa>;
        pub(super) fn RSA_meth_set_priv_enc(
            method: *mut RSA_METHOD,
            sign: Option<SignRsa>,
        ) -> c_int;
        pub(super) fn RSA_set_method(key: *mut RSA, method: *const RSA_METHOD) -> c_int;
    }
}
