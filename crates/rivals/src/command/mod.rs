//! The command: which turns are taken, and what becomes of their outcomes.

pub(crate) mod chart;
pub(crate) mod document;
pub(crate) mod markdown;
pub(crate) mod matrix;
pub(crate) mod page;
pub(crate) mod programs;
pub(crate) mod results;
pub(crate) mod standing;
