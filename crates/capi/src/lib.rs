//! OpenSSL's `ASYNC_*` functions, as a C library that takes the place of the originals.
//!
//! Programs that already speak `openssl/async.h` (HAProxy with `ssl-mode-async`, `openssl s_server -async`, engines and
//! providers) run on Layby's jobs and wait contexts without being changed: by `LD_PRELOAD`, or with `-llayby_async` before
//! `-lcrypto`. `docs/openssl-preload.md` says how, what that buys, and how the functions differ from OpenSSL's.
//!
//! ```text
//!   C program, libssl, engine
//!        |  ASYNC_start_job, ...          ASYNC_WAIT_CTX_new, ...
//!        v                                v
//!     job_abi                          wait_abi            pointers in and out, return codes, errors
//!        |                                |
//!        v                                v
//!     thread -----------------------> wait                 jobs of one thread; wait contexts of any
//!        |                                |
//!        +----------> record <------------+                what other threads see: handles, news, counters
//!        v                                v
//!     job-core                         wait-ctx
//! ```
//!
//! # C frames
//!
//! A paused job of C code cannot be cancelled: its frames cannot be unwound, and to resume it would run code of a session
//! that is freed. So a job whose wait context is freed becomes an *orphan*. Its stack is kept from reuse, since a device may
//! still write to it, until the engine has woken the job: its descriptor is readable when the context is freed, or the engine
//! looks for the context later. Then the stack goes back to the pool, emptied. A thread that ends before that leaks it.
//!
//! # Pointers
//!
//! No pointer of a caller is followed before it is known to be of this library: an `ASYNC_JOB *` is a checked number, an
//! `ASYNC_WAIT_CTX *` is looked up among the addresses of all wait contexts, which are never unmapped.
#![warn(missing_docs)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "layby_async is for 64-bit Linux: handles keep their generation in bits that addresses do not use"
);

mod arena;
mod boundary;
mod call;
mod complaint;
mod counts;
mod job_abi;
mod load;
mod lock;
mod openssl;
mod record;
mod table;
mod thread;
mod thread_end;
mod wait;
mod wait_abi;
