//! C programs on this library, beside the same programs on OpenSSL's own.
//!
//! They need a C compiler and OpenSSL's headers. Without these the tests are skipped, unless `LAYBY_REQUIRE` (a list with
//! commas) names `libssl-dev`: then that is a failure.

mod differences;
mod differential;
mod endurance;
mod manual;
mod sanitizer;
mod servers;
mod tools;
