//! Planted bugs: the tests of law L16 find each.
//!
//! A binary of its own, because a planted bug affects the whole process.

#[path = "it/case.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod case;
#[path = "it/fixed.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod fixed;
#[path = "it/invisible.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod invisible;
#[path = "it/servers.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod servers;
#[path = "it/world.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod world;

use case::Case;
use invisible::{changed_message_gets_no_signature, compare};
use tls_replay::plant::{Bug, arm, disarm};

/// What the tests of the law compare, for two handshakes: one that signs, and one that ends in an encrypted alert.
fn is_invisible() -> Result<(), String> {
    changed_message_gets_no_signature()?;
    compare(&Case::default())?;
    compare(&Case::without_common_protocol()).map(|_| ())
}

#[test]
fn l16_every_planted_bug_is_found() {
    is_invisible().unwrap();
    for (_, bug, law) in Bug::ALL {
        assert_eq!(*law, 16);
        arm(*bug);
        let found = is_invisible();
        disarm();
        assert!(found.is_err(), "{bug:?} was not found");
    }
    is_invisible().unwrap();
}
