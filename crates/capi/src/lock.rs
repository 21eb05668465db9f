//! A lock for the few instructions that the descriptors of a wait context are looked at.
//!
//! It is nearly always free: only a device's thread and the session's can want one at the same time. The standard library's
//! has a second atomic exchange, to unlock, which alone takes as long as what is done under it.

use std::cell::UnsafeCell;
use std::hint;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A value that one thread at a time may look at. While it is held no code of the program's runs, but its allocator.
#[derive(Default)]
pub(crate) struct Locked<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached through a `Held`, of which there is one at a time, on one thread.
unsafe impl<T: Send> Sync for Locked<T> {}

/// The value, until dropped. It stays on its thread: a `Locked` vouches for a value that is `Send`, not for one that two
/// threads look at.
pub(crate) struct Held<'a, T>(&'a Locked<T>, PhantomData<*const ()>);

impl<T> Locked<T> {
    #[inline]
    pub(crate) fn hold(&self) -> Held<'_, T> {
        if self.is_held.swap(true, Ordering::Acquire) {
            self.wait();
        }
        Held(self, PhantomData)
    }

    #[cold]
    fn wait(&self) {
        /// Tries before this thread sleeps, in case it keeps the holder from running.
        const TRIES: u32 = 200;

        for nth in 0_u32.. {
            match nth {
                ..TRIES if nth % 8 != 7 => hint::spin_loop(),
                ..TRIES => thread::yield_now(),
                _ => thread::sleep(Duration::from_micros(50)),
            }
            if !self.is_held.load(Ordering::Relaxed) && !self.is_held.swap(true, Ordering::Acquire)
            {
                return;
            }
        }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it is held, by this.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it is held, by this, which is borrowed mutably.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_held.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not compile if two of these implementations fit.
    #[test]
    fn a_held_value_is_not_for_two_threads_to_look_at() {
        trait NotSync<A> {
            fn is_checked() {}
        }
        impl<T> NotSync<()> for T {}
        impl<T: Sync> NotSync<u8> for T {}
        <Held<'_, u64> as NotSync<_>>::is_checked();
    }

    #[test]
    fn threads_that_add_at_once_lose_nothing() {
        let count = Locked::<u64>::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| *count.hold() += 1));
            }
        });
        assert_eq!(*count.hold(), 80_000);
    }
}
