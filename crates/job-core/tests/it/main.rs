//! The public API of job-core, one file per behaviour.

mod jobs;
