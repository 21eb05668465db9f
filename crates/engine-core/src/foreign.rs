//! The user's code and values, as the engine calls and holds them.
//!
//! Every call goes through [`contain`], and every value that the engine may have to drop is a [`Foreign`]. So a panic in
//! either ends there, and neither runs on a job's stack (law L4).

use core::any::type_name;
use core::ops::Deref;

use wait_ctx::{Panicked, contain, contain_drop};

use crate::jobs;
use crate::meter::Meter;

/// A value of the user's. A panic in its `Drop` is contained.
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, for the caller who passed it in: a panic in its `Drop` is that caller's.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect(HAS_VALUE)
    }
}

impl<T> Deref for Foreign<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HAS_VALUE)
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            contain_drop(type_name::<T>(), value);
        }
    }
}

const HAS_VALUE: &str = "the value goes by value only";

/// Runs foreign code, [contained](contain), and counts it if it still runs on a job's stack.
pub(crate) fn call<R>(
    meter: &Meter,
    what: &'static str,
    foreign: impl FnOnce() -> R,
) -> Result<R, Panicked> {
    contain(what, || {
        if jobs::on_job_stack() {
            meter.count(|c| &c.on_job_stack);
        }
        foreign()
    })
}
