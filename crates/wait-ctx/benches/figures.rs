//! The three figures of this crate, each beside its rival: `cargo bench -p wait-ctx`.
//!
//! Ours and the rival's are measured in turn, in batches, and the median batch of each counts. One JSON document on
//! stdout; a figure that cannot be measured says why.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use libloading::{Library, Symbol};
use wait_ctx::{Arm, Key, Outcome, Seen, WaitCtx, WaitFd};

/// Many short batches rather than a few long ones: on a busy machine most of them are then undisturbed.
const BATCHES: usize = 2_001;
const PER_BATCH: u32 = 500;
const N_SESSIONS: u32 = 256;

/// Nanoseconds per call: the median batch, the fastest and the slowest.
struct Sample {
    median: f64,
    min: f64,
    max: f64,
}

impl Sample {
    fn of(mut batches: Vec<f64>) -> Self {
        batches.sort_by(f64::total_cmp);
        let (min, max) = (batches[0], batches[batches.len() - 1]);
        Self { median: batches[batches.len() / 2], min, max }
    }
}

fn batch(per_batch: u32, f: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..per_batch {
        f();
    }
    start.elapsed().as_nanos() as f64 / f64::from(per_batch)
}

fn side_by_side(ours: &mut impl FnMut(), rival: &mut impl FnMut()) -> (Sample, Sample) {
    let (mut our_batches, mut rival_batches) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        our_batches.push(batch(PER_BATCH, ours));
        rival_batches.push(batch(PER_BATCH, rival));
    }
    (Sample::of(our_batches), Sample::of(rival_batches))
}

fn row(name: &str, rival: &str, (ours, theirs): (Sample, Sample)) -> String {
    format!(
        r#"{{"name":"{name}","value":{:.2},"unit":"ns","better":"lower","rival":"{rival}","rival_value":{:.2},"ratio":{:.3},"runs":{BATCHES},"min":{:.2},"max":{:.2},"note":null}}"#,
        ours.median,
        theirs.median,
        theirs.median / ours.median,
        ours.min,
        ours.max
    )
}

/// A session's whole life: new, set, all, changed, clear, free.
fn life_cycle() -> Result<String, libloading::Error> {
    let key = Key::unique();
    let mut ours = || {
        let ctx = WaitCtx::new();
        let mut seen = Seen::new();
        ctx.set_wait_fd(key, WaitFd::borrowed(&5)).expect("free");
        black_box(ctx.all_fds());
        drop(black_box(ctx.diff(&mut seen)));
        drop(black_box(ctx.clear_fd(key)));
    };
    let openssl = OpenSsl::load()?;
    let mut theirs = || openssl.life_cycle();
    Ok(row("wait_ctx.life_cycle", "OpenSSL", side_by_side(&mut ours, &mut theirs)))
}

/// A completion told by the session's own descriptor, beside the write(2) in it.
fn notify_eventfd() -> String {
    let sessions: Vec<WaitCtx> = (0..N_SESSIONS).map(|_| WaitCtx::new()).collect();
    for ctx in &sessions {
        ctx.notify_fd().expect("a descriptor");
    }
    let (mut our_batches, mut rival_batches) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        // Beginning and arming are the job's part; a completion is timed from its claim.
        let requests: Vec<_> =
            sessions.iter().map(|ctx| ctx.notifier().begin().expect("completed")).collect();
        assert!(requests.iter().all(|request| request.arm() == Arm::Armed));
        let mut request = requests.iter();
        our_batches.push(batch(N_SESSIONS, &mut || {
            let request = request.next().expect("one each");
            black_box(request.claim(Outcome::Done).expect("first").wake());
        }));
        let mut ctx = sessions.iter();
        rival_batches.push(batch(N_SESSIONS, &mut || {
            let fd = ctx.next().expect("one each").notify_fd().expect("made before");
            black_box(rustix::io::write(fd, &1_u64.to_ne_bytes())).expect("room");
        }));
    }
    let samples = (Sample::of(our_batches), Sample::of(rival_batches));
    row("wait_ctx.notify_eventfd", "write(2)", samples)
}

/// A completion that nobody is armed for.
fn notify_unlistened() -> String {
    // A request can be completed only once, and beginning it is not part of the wake: many sessions, one completion each.
    let sessions: Vec<WaitCtx> = (0..N_SESSIONS).map(|_| WaitCtx::new()).collect();
    let words: Vec<Box<AtomicU64>> = (0..N_SESSIONS).map(|_| Box::default()).collect();
    let (mut our_batches, mut rival_batches) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let requests: Vec<_> =
            sessions.iter().map(|ctx| ctx.notifier().begin().expect("completed")).collect();
        let mut request = requests.iter();
        our_batches.push(batch(N_SESSIONS, &mut || {
            let request = request.next().expect("one each");
            black_box(request.claim(Outcome::Done).expect("first").wake());
        }));
        let mut word = words.iter();
        rival_batches.push(batch(N_SESSIONS, &mut || {
            black_box(word.next().expect("one each").fetch_add(1, Ordering::AcqRel));
        }));
    }
    let samples = (Sample::of(our_batches), Sample::of(rival_batches));
    row("wait_ctx.notify_unlistened", "one atomic read-modify-write", samples)
}

/// The functions of the system's libcrypto.so.3 that make up a life.
struct OpenSsl {
    new: unsafe extern "C" fn() -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    set: unsafe extern "C" fn(*mut c_void, *const c_void, c_int, *mut c_void, *mut c_void) -> c_int,
    all: unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize) -> c_int,
    changed:
        unsafe extern "C" fn(*mut c_void, *mut c_int, *mut usize, *mut c_int, *mut usize) -> c_int,
    clear: unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int,
    _library: Library,
}

impl OpenSsl {
    fn load() -> Result<Self, libloading::Error> {
        fn find<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
            // SAFETY: the fields of `OpenSsl` have the types of the manual page.
            let symbol: Symbol<'_, T> = unsafe { library.get(name) }?;
            Ok(*symbol)
        }
        // SAFETY: libcrypto's initialisers may run at any time in any process.
        let library = unsafe { Library::new("libcrypto.so.3") }?;
        Ok(Self {
            new: find(&library, "ASYNC_WAIT_CTX_new")?,
            free: find(&library, "ASYNC_WAIT_CTX_free")?,
            set: find(&library, "ASYNC_WAIT_CTX_set_wait_fd")?,
            all: find(&library, "ASYNC_WAIT_CTX_get_all_fds")?,
            changed: find(&library, "ASYNC_WAIT_CTX_get_changed_fds")?,
            clear: find(&library, "ASYNC_WAIT_CTX_clear_fd")?,
            _library: library,
        })
    }

    fn life_cycle(&self) {
        let key: *const c_void = ptr::from_ref(self).cast();
        let (mut fds, mut removed) = ([0; 4], [0; 4]);
        let (mut n_fds, mut n_removed) = (0, 0);
        // SAFETY: takes nothing.
        let ctx = unsafe { (self.new)() };
        // SAFETY: a live context; no data and no cleanup.
        unsafe { (self.set)(ctx, key, 5, ptr::null_mut(), ptr::null_mut()) };
        // SAFETY: one descriptor, room for four.
        unsafe { (self.all)(ctx, fds.as_mut_ptr(), &raw mut n_fds) };
        // SAFETY: at most one in each list, room for four.
        unsafe {
            (self.changed)(
                ctx,
                fds.as_mut_ptr(),
                &raw mut n_fds,
                removed.as_mut_ptr(),
                &raw mut n_removed,
            )
        };
        // SAFETY: a live context.
        unsafe { (self.clear)(ctx, key) };
        // SAFETY: freed once, never used again.
        unsafe { (self.free)(ctx) };
        black_box((fds, removed, n_fds, n_removed));
    }
}

fn main() {
    let life_cycle = life_cycle().unwrap_or_else(|reason| {
        format!(
            r#"{{"name":"wait_ctx.life_cycle","value":null,"note":"no libcrypto.so.3: {reason}"}}"#
        )
    });
    let rows = [life_cycle, notify_eventfd(), notify_unlistened()];
    println!("{{\"benches\":[\n{}\n]}}", rows.join(",\n"));
}
