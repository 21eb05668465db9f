//! kryoptic, as a library that is loaded: its functions are exported as they are.

pub use kryoptic_lib::*;
