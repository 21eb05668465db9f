//! What a user of tokio-rustls observes, point by point, over both libraries.
//!
//! Each point of `points` is one body, generic over the library, that describes what happened. Where this crate differs,
//! by fiber, by replay or by tokio-rustls's names, the difference and its reason are a row of the table in `docs/slow-key-behind-rustls.md`: the test
//! fails on a difference without a reason, on a reason without a difference, and on a table that is not the one written here.
//! `LAYBY_RECORD=1` writes it.

mod endings;
mod hellos;
mod libraries;
mod moved;
mod streams;
mod table;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use libraries::{ByReplay, Compat, Library, OnFiber, TokioRustls};

/// What a body observed, in words.
type Observed = Pin<Box<dyn Future<Output = String>>>;

/// One thing that users rely on.
struct Point {
    name: &'static str,
    /// The body with each of [`LIBRARIES`](table::LIBRARIES).
    bodies: [fn() -> Observed; 4],
}

/// A point whose body is an `async fn` with the library as its parameter.
macro_rules! point {
    ($name:literal, $body:path) => {{
        use $body as body;
        $crate::Point {
            name: $name,
            bodies: [
                || Box::pin(body::<$crate::TokioRustls>()),
                || Box::pin(body::<$crate::OnFiber>()),
                || Box::pin(body::<$crate::ByReplay>()),
                || Box::pin(body::<$crate::Compat>()),
            ],
        }
    }};
}
pub(crate) use point;

#[test]
fn each_point_is_as_in_tokio_rustls_or_a_row_of_the_table() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let observe = |body: fn() -> Observed| {
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), body()).await })
            .unwrap_or_else(|_| "nothing within a minute".to_owned())
    };
    let points = hellos::points().into_iter().chain(streams::points()).chain(endings::points());
    let observed: Vec<_> = points.map(|point| (point.name, point.bodies.map(observe))).collect();
    table::check(&observed);
}

#[test]
fn the_libraries_have_the_same_name_as_in_the_table() {
    let names = [TokioRustls::NAME, OnFiber::NAME, ByReplay::NAME, Compat::NAME];
    assert_eq!(names, table::LIBRARIES);
}
