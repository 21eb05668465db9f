//! What a user of tokio-rustls observes, point by point, over both libraries.
//!
//! Each point of `points` is one body, generic over the library, that describes what happened. Where this crate differs,
//! by fiber or by replay, the difference and its reason are a row of the table in `docs/slow-key-behind-rustls.md`: the test
//! fails on a difference without a reason, on a reason without a difference, and on a table that is not the one written here.
//! `LAYBY_RECORD=1` writes it.

mod endings;
mod hellos;
mod libraries;
mod streams;
mod table;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use libraries::{ByReplay, Library, OnFiber, TokioRustls};

/// What a body observed, in words.
type Observed = Pin<Box<dyn Future<Output = String>>>;

/// One thing that users rely on.
struct Point {
    name: &'static str,
    /// The body with tokio-rustls, on a fiber, and by replay.
    bodies: [fn() -> Observed; 3],
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
    assert_eq!([TokioRustls::NAME, OnFiber::NAME, ByReplay::NAME], table::LIBRARIES);
}
