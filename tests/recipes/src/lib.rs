//! Keys in real key services. Each module is what a user copies; `docs/recipes.md` says what was tried and what was only read.

pub mod aws_kms;
