//! Jobs that pause inside callbacks of C code, and are resumed or dropped there.
//!
//! SQLite and libcurl are loaded at run time. Where one is missing its tests are skipped with a message;
//! `LAYBY_REQUIRE` (a list with commas) makes that a failure: `libsqlite3`, `libcurl`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::ptr;
use std::rc::Rc;

use job_core::{Job, JobPool, Pause, Step, pause};
use libloading::{Library, Symbol};

/// Counts the callbacks of one job.
#[derive(Default)]
struct Counts {
    calls: Cell<u32>,
    cancelled: Cell<u32>,
}

impl Counts {
    /// Pauses in a callback. Returns whether to go on.
    fn pause(&self) -> bool {
        self.calls.set(self.calls.get() + 1);
        // Owned at the pause, so that the callback has a destructor to run.
        let owned = Rc::new(());
        let goes_on = pause() == Pause::Resumed;
        drop(owned);
        self.cancelled.set(self.cancelled.get() + u32::from(!goes_on));
        goes_on
    }
}

fn pool() -> JobPool {
    JobPool::builder().stack_size(256 * 1024).build().unwrap()
}

/// Resumes a job to its end. Returns its value, and how often it paused.
fn finish<T>(mut step: Step<T>) -> (T, u32) {
    for pauses in 0..100_000 {
        match step {
            Step::Paused(job) => step = job.resume(),
            Step::Finished(value) => return (value, pauses),
        }
    }
    unreachable!("the job pauses for ever");
}

/// Starts the job again and again, and drops it at its first pause, its second and so on. Each must end by itself.
/// Returns the number of pauses.
fn drop_at_every_pause<T: 'static>(pool: &JobPool, start: impl Fn() -> Step<T>) -> u32 {
    for at in 0.. {
        let mut step = start();
        for _ in 0..at {
            match step {
                Step::Paused(job) => step = job.resume(),
                Step::Finished(_) => break,
            }
        }
        let finished = matches!(step, Step::Finished(_));
        drop(step);
        let stats = pool.stats();
        assert_eq!((stats.live, stats.stacks_in_use), (0, 0));
        assert_eq!((stats.quarantined, stats.swallowed_panics), (0, 0), "dropped at pause {at}");
        if finished {
            return at;
        }
    }
    unreachable!("the job pauses for ever");
}

mod sorting {
    use super::*;

    unsafe extern "C" {
        fn qsort(
            base: *mut c_void,
            count: usize,
            size: usize,
            compare: extern "C" fn(*const c_void, *const c_void) -> c_int,
        );
    }

    thread_local!(static COUNTS: Counts = const { Counts { calls: Cell::new(0), cancelled: Cell::new(0) } });

    fn order(a: *const c_void, b: *const c_void) -> c_int {
        // SAFETY: `qsort` passes pointers to two elements of the array, which are `u32`.
        let a = unsafe { a.cast::<u32>().read() };
        // SAFETY: as above.
        let b = unsafe { b.cast::<u32>().read() };
        a.cmp(&b) as c_int
    }

    extern "C" fn pausing(a: *const c_void, b: *const c_void) -> c_int {
        // The borrow of the variable ends before the pause.
        let owned = Rc::new(());
        let cancelled = pause() == Pause::Cancelled;
        COUNTS.with(|counts| counts.calls.set(counts.calls.get() + 1));
        COUNTS.with(|counts| counts.cancelled.set(counts.cancelled.get() + u32::from(cancelled)));
        drop(owned);
        if cancelled { 0 } else { order(a, b) }
    }

    extern "C" fn stubborn(a: *const c_void, b: *const c_void) -> c_int {
        while pause() != Pause::Resumed {}
        order(a, b)
    }

    fn sort(items: &mut [u32], compare: extern "C" fn(*const c_void, *const c_void) -> c_int) {
        let base = items.as_mut_ptr().cast();
        // SAFETY: the array is borrowed mutably for the call, and the comparator reads two of its elements. It may
        // answer an inconsistent order, with which `qsort` still only permutes.
        unsafe { qsort(base, items.len(), size_of::<u32>(), compare) };
    }

    fn shuffled(count: u32) -> Vec<u32> {
        (0..count).map(|n| n.wrapping_mul(7919) % count).collect()
    }

    fn start(pool: &JobPool, count: u32) -> Step<Vec<u32>> {
        pool.start(move || {
            let mut items = shuffled(count);
            sort(&mut items, pausing);
            items
        })
        .unwrap()
    }

    #[test]
    fn l5_a_job_dropped_in_a_comparator_of_qsort_ends_by_itself() {
        let pool = pool();
        for count in [2, 3, 10, 40] {
            let pauses = drop_at_every_pause(&pool, || start(&pool, count));
            assert!(pauses >= count - 1, "{pauses} comparisons of {count}");
        }
        // Thousands of calls after the cancel: the comparator cannot stop `qsort`, only return at once.
        drop(start(&pool, 400));
        assert_eq!(pool.stats().quarantined, 0);
        assert!(COUNTS.with(|counts| counts.cancelled.get()) > 400);
    }

    #[test]
    fn two_jobs_pause_in_qsort_by_turns_and_both_sort() {
        let pool = pool();
        let mut steps = vec![start(&pool, 50), start(&pool, 60)];
        let mut sorted = Vec::new();
        for _ in 0..10_000 {
            let turns = std::mem::take(&mut steps);
            for step in turns {
                match step {
                    Step::Paused(job) => steps.push(job.resume()),
                    Step::Finished(items) => sorted.push(items),
                }
            }
        }
        assert!(steps.is_empty() && sorted.len() == 2);
        assert!(sorted.iter().all(|items| items.is_sorted()));
    }

    #[test]
    fn l5_a_comparator_that_pauses_for_ever_is_leaked_and_counted() {
        let pool = JobPool::builder().max_jobs(1).stack_size(256 * 1024).build().unwrap();
        let job: Job<()> =
            pool.start(|| sort(&mut shuffled(10), stubborn)).unwrap().paused().unwrap();
        drop(job);
        assert_eq!((pool.stats().live, pool.stats().quarantined), (0, 1));
        // The pool has room again.
        let sorted = pool.start(|| {
            let mut items = shuffled(100);
            sort(&mut items, pausing);
            items.is_sorted()
        });
        assert!(finish(sorted.unwrap()).0);
    }

    /// Runs itself in a child process, which aborts.
    #[test]
    fn an_unwind_through_a_c_frame_aborts() {
        const IN_CHILD: &str = "LAYBY_UNWINDS_THROUGH_QSORT";
        if std::env::var_os(IN_CHILD).is_some() {
            let pool = JobPool::builder().unwind(true).build().unwrap();
            drop(pool.start(|| sort(&mut shuffled(10), stubborn)).unwrap());
            return;
        }
        let name = "sorting::an_unwind_through_a_c_frame_aborts";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        // SIGABRT.
        assert_eq!(child.status.signal(), Some(6), "{child:?}");
    }
}

/// A library, or the reason to skip the test.
fn library(file: &str, name: &str, test: &str) -> Option<Library> {
    // SAFETY: the initialisers of these two libraries have no preconditions.
    match unsafe { Library::new(file) } {
        Ok(library) => Some(library),
        Err(reason) => {
            let required = std::env::var("LAYBY_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|required| required.trim() == name),
                "LAYBY_REQUIRE names {name}, but it cannot be loaded: {reason}"
            );
            eprintln!("skipped {test}: no {file} ({reason})");
            None
        }
    }
}

fn find<T: Copy>(library: &Library, name: &str) -> T {
    // SAFETY: each caller asks for a type written down from the manual page of the function it names.
    let symbol: Symbol<'_, T> = unsafe { library.get(name) }.expect("every version has it");
    *symbol
}

mod sqlite {
    use super::*;

    type Row = extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
    type Function = extern "C" fn(*mut c_void, c_int, *mut *mut c_void);

    const OK: c_int = 0;
    const ERROR: c_int = 1;
    const ABORT: c_int = 4;
    const UTF8: c_int = 1;
    const TEN_ROWS: &CStr =
        c"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10) \
                              SELECT x FROM n";
    const TEN_CALLS: &CStr =
        c"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10) \
                               SELECT wait_for(x) FROM n";

    #[derive(Clone, Copy)]
    struct Sqlite {
        open: unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int,
        close: unsafe extern "C" fn(*mut c_void) -> c_int,
        exec: unsafe extern "C" fn(
            *mut c_void,
            *const c_char,
            Option<Row>,
            *mut c_void,
            *mut *mut c_char,
        ) -> c_int,
        create_function: unsafe extern "C" fn(
            *mut c_void,
            *const c_char,
            c_int,
            c_int,
            *mut c_void,
            Option<Function>,
            Option<Function>,
            Option<extern "C" fn(*mut c_void)>,
        ) -> c_int,
    }

    thread_local! {
        static USER_DATA: Cell<Option<unsafe extern "C" fn(*mut c_void) -> *mut c_void>> =
            const { Cell::new(None) };
        static RESULT_ERROR: Cell<Option<unsafe extern "C" fn(*mut c_void, *const c_char, c_int)>> =
            const { Cell::new(None) };
    }

    fn load(test: &str) -> Option<Sqlite> {
        let library = library("libsqlite3.so.0", "libsqlite3", test)?;
        let sqlite = Sqlite {
            open: find(&library, "sqlite3_open"),
            close: find(&library, "sqlite3_close"),
            exec: find(&library, "sqlite3_exec"),
            create_function: find(&library, "sqlite3_create_function"),
        };
        USER_DATA.set(Some(find(&library, "sqlite3_user_data")));
        RESULT_ERROR.set(Some(find(&library, "sqlite3_result_error")));
        // Never unloaded: the functions are used for the rest of the test.
        std::mem::forget(library);
        Some(sqlite)
    }

    /// A database in memory, closed when it is dropped.
    struct Database {
        sqlite: Sqlite,
        handle: *mut c_void,
        closed: Rc<Cell<u32>>,
    }

    impl Database {
        fn open(sqlite: Sqlite, closed: Rc<Cell<u32>>) -> Self {
            let mut handle = ptr::null_mut();
            // SAFETY: the name is a C string, and the handle has room for one.
            let code = unsafe { (sqlite.open)(c":memory:".as_ptr(), &mut handle) };
            assert_eq!(code, OK);
            Self { sqlite, handle, closed }
        }

        fn exec(&self, statement: &CStr, row: Option<Row>, counts: &Counts) -> c_int {
            let data = ptr::from_ref(counts).cast_mut().cast();
            // SAFETY: the database is open, the statement a C string, and the callback casts its data back to what it
            // was here, which outlives the call.
            unsafe {
                (self.sqlite.exec)(self.handle, statement.as_ptr(), row, data, ptr::null_mut())
            }
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            // SAFETY: opened in `open`, closed once. Busy statements would make this fail.
            let code = unsafe { (self.sqlite.close)(self.handle) };
            self.closed.set(self.closed.get() + u32::from(code == OK));
        }
    }

    extern "C" fn row(
        counts: *mut c_void,
        _: c_int,
        _: *mut *mut c_char,
        _: *mut *mut c_char,
    ) -> c_int {
        // SAFETY: `exec` passes on the data that `Database::exec` gave it.
        let counts = unsafe { &*counts.cast::<Counts>() };
        c_int::from(!counts.pause())
    }

    extern "C" fn wait_for(context: *mut c_void, _: c_int, _: *mut *mut c_void) {
        let user_data = USER_DATA.get().unwrap();
        // SAFETY: SQLite calls this with the context of the call.
        let counts = unsafe { user_data(context) };
        // SAFETY: the data that the function was created with; it outlives the statement.
        let counts = unsafe { &*counts.cast::<Counts>() };
        if !counts.pause() {
            let result_error = RESULT_ERROR.get().unwrap();
            // SAFETY: as above; the message is a C string.
            unsafe { result_error(context, c"cancelled".as_ptr(), -1) };
        }
    }

    /// Returns the code of SQLite, and how often it called back.
    fn select(sqlite: Sqlite, closed: Rc<Cell<u32>>, by_function: bool) -> (c_int, u32) {
        let counts = Counts::default();
        let database = Database::open(sqlite, closed);
        let code = if by_function {
            let data = ptr::from_ref(&counts).cast_mut().cast();
            // SAFETY: the database is open, the name a C string, and the data outlives the database.
            let code = unsafe {
                (sqlite.create_function)(
                    database.handle,
                    c"wait_for".as_ptr(),
                    1,
                    UTF8,
                    data,
                    Some(wait_for),
                    None,
                    None,
                )
            };
            assert_eq!(code, OK);
            database.exec(TEN_CALLS, None, &counts)
        } else {
            database.exec(TEN_ROWS, Some(row), &counts)
        };
        drop(database);
        if counts.cancelled.get() > 0 {
            assert_eq!(code, if by_function { ERROR } else { ABORT });
        }
        (code, counts.calls.get())
    }

    #[test]
    fn l5_a_job_paused_in_a_callback_of_sqlite_is_resumed_or_dropped() {
        for by_function in [false, true] {
            let Some(sqlite) = load("l5_a_job_paused_in_a_callback_of_sqlite") else { return };
            let pool = pool();
            let closed = Rc::new(Cell::new(0));
            let start = || {
                let closed = Rc::clone(&closed);
                pool.start(move || select(sqlite, closed, by_function)).unwrap()
            };
            assert_eq!(finish(start()), ((OK, 10), 10));
            assert_eq!(drop_at_every_pause(&pool, start), 10);
            assert_eq!(closed.get(), 12, "every database was closed, without a busy statement");
        }
    }
}

mod curl {
    use super::*;

    const OK: c_int = 0;
    const WRITE_ERROR: c_int = 23;
    const NOSIGNAL: c_int = 99;
    const WRITEDATA: c_int = 10_001;
    const URL: c_int = 10_002;
    const WRITEFUNCTION: c_int = 20_011;

    type Write = extern "C" fn(*mut c_char, usize, usize, *mut c_void) -> usize;

    #[derive(Clone, Copy)]
    struct Curl {
        init: unsafe extern "C" fn() -> *mut c_void,
        setopt: unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int,
        perform: unsafe extern "C" fn(*mut c_void) -> c_int,
        cleanup: unsafe extern "C" fn(*mut c_void),
    }

    extern "C" fn write(_: *mut c_char, size: usize, count: usize, counts: *mut c_void) -> usize {
        // SAFETY: `WRITEDATA` was set to it; it outlives the transfer.
        let counts = unsafe { &*counts.cast::<Counts>() };
        // Returning fewer bytes than were passed ends the transfer.
        if counts.pause() { size * count } else { 0 }
    }

    /// Returns libcurl's code for a transfer of `url`, and how often it called back.
    fn transfer(curl: Curl, url: &CStr) -> (c_int, u32) {
        let counts = Counts::default();
        // SAFETY: one thread of this process uses libcurl.
        let handle = unsafe { (curl.init)() };
        assert!(!handle.is_null());
        let data: *const Counts = &raw const counts;
        // SAFETY: the handle is live; the option takes a C string, which is copied.
        unsafe { (curl.setopt)(handle, URL, url.as_ptr()) };
        // SAFETY: as above; a number.
        unsafe { (curl.setopt)(handle, NOSIGNAL, 1_i64) };
        // SAFETY: as above; a function of this type.
        unsafe { (curl.setopt)(handle, WRITEFUNCTION, write as Write) };
        // SAFETY: as above; any pointer.
        unsafe { (curl.setopt)(handle, WRITEDATA, data) };
        // SAFETY: as above; the targets of the options are alive.
        let code = unsafe { (curl.perform)(handle) };
        // SAFETY: the handle is not used again.
        unsafe { (curl.cleanup)(handle) };
        if counts.cancelled.get() > 0 {
            assert_eq!(code, WRITE_ERROR);
        }
        (code, counts.calls.get())
    }

    #[test]
    fn l5_a_job_paused_in_a_write_callback_of_libcurl_is_resumed_or_dropped() {
        let Some(library) = library("libcurl.so.4", "libcurl", "l5_a_job_paused_in_libcurl") else {
            return;
        };
        let curl = Curl {
            init: find(&library, "curl_easy_init"),
            setopt: find(&library, "curl_easy_setopt"),
            perform: find(&library, "curl_easy_perform"),
            cleanup: find(&library, "curl_easy_cleanup"),
        };
        // libcurl must not be unloaded.
        std::mem::forget(library);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'x'; 200_000]).unwrap();
        let url = CString::new(format!("file://{}", path.display())).unwrap();

        let pool = pool();
        let start = || {
            let url = url.clone();
            pool.start(move || transfer(curl, &url)).unwrap()
        };
        let ((code, calls), pauses) = finish(start());
        assert_eq!((code, calls), (OK, pauses));
        assert!(pauses > 1, "the file comes in several pieces");
        assert_eq!(drop_at_every_pause(&pool, start), pauses);
    }
}
