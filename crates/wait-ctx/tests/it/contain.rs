//! Foreign code that panics, with payloads that are text, are not, and panic themselves when they are dropped.

use std::panic::{panic_any, resume_unwind};

use wait_ctx::{Panicked, contain, contain_drop};

/// Panics when it is dropped, with another one of its kind: endlessly.
struct Endless(u8);

impl Drop for Endless {
    fn drop(&mut self) {
        panic_any(Self(self.0.wrapping_add(1)));
    }
}

fn cause_of(foreign: impl FnOnce()) -> String {
    let Panicked { what, cause, .. } = contain("a test", foreign).expect_err("it panics");
    assert_eq!(what, "a test");
    cause
}

#[test]
fn l10_a_contained_panic_is_told_by_its_message() {
    assert_eq!(contain("a test", || 42), Ok(42));
    assert_eq!(cause_of(|| panic!("planned")), "planned");
    let number = 3;
    assert_eq!(cause_of(|| panic!("planned {number}")), "planned 3");
    assert_eq!(cause_of(|| resume_unwind(Box::new(7_u8))), "its payload is not text");
}

#[test]
fn l10_a_payload_that_panics_when_it_is_dropped_is_contained_too() {
    assert_eq!(cause_of(|| panic_any(Endless(0))), "its payload is not text");
    contain_drop("a test", Endless(0));
    contain_drop("a test", 3_u8);
}

#[test]
fn l10_contained_code_may_contain_other_code() {
    let nested = contain("outer", || contain("inner", || panic!("planned")).is_err());
    assert_eq!(nested, Ok(true), "the outer one went well");
}
