//! The modules of the process: each library is loaded and initialized once, and never unloaded.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;

use crate::error::OpenError;
use crate::fault::{Class, During, Fault};
use crate::gate::{Gate, InTheWay, Inside, Left};

/// A library of a token's maker. It lives as long as the process: some crash when they are unloaded.
pub(crate) struct Module {
    library: Pkcs11,
    path: PathBuf,
    gate: Gate,
    owner: Mutex<Ownership>,
    /// Of each token of ours that uses it.
    pulses: Mutex<Vec<Weak<Pulse>>>,
    /// Sessions that were dropped where no call may block. The next thread that may closes them.
    dropped: Mutex<Vec<(Session, u64)>>,
}

/// Whether a token works, as the other tokens of its module see it.
#[derive(Default)]
pub(crate) struct Pulse {
    last_signed: Mutex<Option<Instant>>,
    is_recovering: AtomicBool,
}

impl Pulse {
    pub(crate) fn signed(&self) {
        *lock(&self.last_signed) = Some(Instant::now());
        self.is_recovering.store(false, Ordering::Release);
    }

    /// A recovery has begun, which lasts until the next signature, or the end.
    pub(crate) fn recovers(&self) {
        self.is_recovering.store(true, Ordering::Release);
    }

    /// Whether a restart of the module would disturb it.
    fn is_well(&self) -> bool {
        let signed_lately = lock(&self.last_signed).is_some_and(|at| at.elapsed() < LATELY);
        signed_lately && !self.is_recovering.load(Ordering::Acquire)
    }
}

/// How long a token that is opened waits for calls of others, in a module that is not initialized and returns from them soon.
const AT_OPEN: Duration = Duration::from_secs(1);

/// A token that has not signed for this long does not keep the module from being restarted.
const LATELY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Ownership {
    /// Another part of the process has initialized the module: it is not ours to finalize.
    by_another: bool,
    /// How many tokens of ours use it.
    users: usize,
    /// The process that initialized it. The standard forbids to use it in a child.
    process: u32,
}

/// A module that is not initialized any more, and in which generation that was seen; none before the first one, or after a
/// `C_Initialize` that failed.
#[derive(Clone, Copy)]
struct Lost {
    generation: Option<u64>,
}

fn in_the_way(n: usize, what: &str) -> OpenError {
    let stuck = format!("{n} calls of the module have not returned, so it cannot be {what}");
    OpenError::Token(stuck)
}

static MODULES: Mutex<BTreeMap<PathBuf, &'static Module>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Module {
    /// The module at this path, loaded and initialized, with one more user.
    pub(crate) fn open(path: &Path) -> Result<&'static Self, OpenError> {
        let module = Self::load(path)?;
        let forked = |owner: &Ownership| owner.users > 0 && owner.process != std::process::id();
        if forked(&lock(&module.owner)) {
            return Err(OpenError::Forked);
        }
        let lost = module.lost();
        let mut owner = lock(&module.owner);
        // The last user may just have left.
        let is_down = || module.gate.enter().is_err().then_some(Lost { generation: None });
        if let Some(lost) = lost.or_else(is_down) {
            module.begin(&mut owner, lost, AT_OPEN)?;
        }
        owner.users += 1;
        drop(owner);
        Ok(module)
    }

    /// The module at this path, loaded.
    fn load(path: &Path) -> Result<&'static Self, OpenError> {
        let unloadable = |reason: String| OpenError::Module { path: path.to_owned(), reason };
        let canonical = path.canonicalize().map_err(|error| unloadable(error.to_string()))?;
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(&canonical) {
            return Ok(module);
        }
        let library = Pkcs11::new(&canonical).map_err(|error| match error {
            Error::LibraryLoading(error) => unloadable(error.to_string()),
            error => unloadable(Fault::of(&error, During::Other).text),
        })?;
        let module = Box::leak(Box::new(Self {
            library,
            path: canonical.clone(),
            gate: Gate::default(),
            owner: Mutex::default(),
            pulses: Mutex::default(),
            dropped: Mutex::default(),
        }));
        modules.insert(canonical, module);
        Ok(module)
    }

    /// Returns whether another part of the process had done it.
    fn initialize(&self) -> Result<bool, OpenError> {
        // Without locks in the module two threads crash it.
        let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match self.library.initialize(args) {
            Ok(()) => Ok(false),
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(true),
            Err(Error::Pkcs11(RvError::CantLock | RvError::NeedToCreateThreads, _)) => {
                Err(OpenError::NoLocking { path: self.path.clone() })
            }
            Err(error) => Err(OpenError::Token(Fault::of(&error, During::Other).text)),
        }
    }

    /// Calls `C_Initialize`, which begins a generation.
    fn initialized(&self) -> (Left, Result<bool, OpenError>) {
        let begun = self.initialize();
        (if begun.is_ok() { Left::Initialized } else { Left::Down }, begun)
    }

    /// As [`initialized`](Self::initialized), of a module that says it is not. One that was ours and says both is a client
    /// whose server was started again: it wants to be finalized first.
    fn initialized_anew(&self, was_ours: bool) -> (Left, Result<bool, OpenError>) {
        let (left, begun) = self.initialized();
        if was_ours && matches!(begun, Ok(true)) && self.says_not_initialized() {
            // If it fails, initializing is all that may help.
            let _ = self.library.clone().finalize();
            return self.initialized();
        }
        (left, begun)
    }

    fn says_not_initialized(&self) -> bool {
        matches!(
            self.library.get_library_info(),
            Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _))
        )
    }

    /// In which generation the module has ceased to be initialized; `None` if it is. Another part of the process may have
    /// finalized it, were it ours or not.
    fn lost(&self) -> Option<Lost> {
        let Ok(inside) = self.gate.enter() else { return Some(Lost { generation: None }) };
        self.says_not_initialized().then_some(Lost { generation: Some(inside.generation) })
    }

    /// Initializes the module, unless another thread has done so meanwhile. Returns whether this one did.
    fn begin(
        &self,
        owner: &mut Ownership,
        lost: Lost,
        patience: Duration,
    ) -> Result<bool, OpenError> {
        let was_ours = owner.users > 0 && !owner.by_another;
        let begin = |up: bool| {
            if up && lost.generation.is_none() {
                return (Left::Untouched, None);
            }
            let (left, begun) = self.initialized_anew(was_ours);
            (left, Some(begun))
        };
        match self.gate.alone(lost.generation, patience, begin) {
            Ok(None | Some(None)) => Ok(false),
            Ok(Some(Some(begun))) => {
                owner.by_another = begun?;
                owner.process = std::process::id();
                Ok(true)
            }
            Err(InTheWay(n)) => Err(in_the_way(n, "initialized")),
        }
    }

    /// Initializes the module if another part of the process has finalized it, or if that failed before. Returns whether this
    /// thread did. Waits at most `patience` for the calls of others.
    pub(crate) fn revive(&self, patience: Duration) -> Result<bool, OpenError> {
        let Some(lost) = self.lost() else { return Ok(false) };
        let mut owner = lock(&self.owner);
        if owner.users == 0 {
            return Err(OpenError::ShutDown);
        }
        self.begin(&mut owner, lost, patience)
    }

    pub(crate) fn is_ours(&self) -> bool {
        !lock(&self.owner).by_another
    }

    pub(crate) fn library(&self) -> &Pkcs11 {
        &self.library
    }

    /// Keeps the pulse of one more token.
    pub(crate) fn watch(&self, pulse: &Arc<Pulse>) {
        let mut pulses = lock(&self.pulses);
        pulses.retain(|pulse| pulse.strong_count() > 0);
        pulses.push(Arc::downgrade(pulse));
    }

    /// Whether a token beside `own` works, so that the module is not what is broken.
    pub(crate) fn serves_another(&self, own: &Arc<Pulse>) -> bool {
        let pulses = lock(&self.pulses);
        let mut others = pulses.iter().filter_map(Weak::upgrade);
        others.any(|pulse| !Arc::ptr_eq(&pulse, own) && pulse.is_well())
    }

    /// Begins calls of the module.
    pub(crate) fn enter(&self) -> Result<Inside<'_>, Fault> {
        let not_up = |_| Fault::new(Class::Device, "the module is not initialized");
        let inside = self.gate.enter().map_err(not_up)?;
        self.close_dropped(&inside);
        Ok(inside)
    }

    /// Finalizes and initializes the module, unless another thread has done so since `seen`. Waits at most `patience` for
    /// the calls of others. What another part of the process has initialized is not finalized.
    pub(crate) fn restart(&self, seen: u64, patience: Duration) -> Result<(), OpenError> {
        let mut owner = lock(&self.owner);
        if owner.users == 0 {
            return Err(OpenError::ShutDown);
        }
        let by_another = owner.by_another;
        let restarted = self.gate.alone(Some(seen), patience, |up| {
            if up && by_another {
                return (Left::Untouched, Ok(true));
            }
            if up {
                // It fails if the module is broken, and then initializing is all that may help.
                let _ = self.library.clone().finalize();
            }
            self.initialized()
        });
        match restarted {
            Ok(None) => Ok(()),
            // Another part of the process may have been faster: then it is not ours to finalize.
            Ok(Some(begun)) => {
                owner.by_another = begun?;
                Ok(())
            }
            Err(InTheWay(n)) => Err(in_the_way(n, "finalized")),
        }
    }

    /// One user less. The last one finalizes the module if it is ours; returns whether that was done.
    pub(crate) fn leave(&self) -> bool {
        let mut owner = lock(&self.owner);
        owner.users = owner.users.saturating_sub(1);
        if owner.users > 0 || owner.by_another || owner.process != std::process::id() {
            return false;
        }
        let ended = self.gate.alone(None, Duration::ZERO, |up| {
            let ended = up && self.library.clone().finalize().is_ok();
            (if ended { Left::Down } else { Left::Untouched }, ended)
        });
        ended.ok().flatten().unwrap_or(false)
    }

    /// Keeps a session that is to be closed by a thread that may block.
    pub(crate) fn close_later(&self, session: Session, generation: u64) {
        lock(&self.dropped).push((session, generation));
    }

    fn close_dropped(&self, inside: &Inside<'_>) {
        let Ok(mut dropped) = self.dropped.try_lock() else { return };
        let closing = core::mem::take(&mut *dropped);
        drop(dropped);
        for (session, generation) in closing {
            // The number of an older session may be that of a new one by now.
            if generation == inside.generation {
                // It may be closed already; that is all that was wanted.
                let _ = session.close();
            }
        }
    }
}
