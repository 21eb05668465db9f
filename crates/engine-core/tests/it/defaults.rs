//! What work and devices say unless they say otherwise.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{
    Accelerator, Capabilities, CheckFailed, DeviceRefused, Engine, Health, Kind, Request, Work,
};

#[derive(Debug)]
struct Plain;

impl Work for Plain {
    type Output = u8;

    fn kind(&self) -> Kind {
        Kind::new("plain")
    }

    fn check(&self, _: &u8) -> Result<(), CheckFailed> {
        Err(CheckFailed("no check was due"))
    }

    fn erase(_: u8) {}
}

#[derive(Debug)]
struct AtOnce;

impl Accelerator<Plain> for AtOnce {
    fn submit(&self, request: Request<Plain>) -> Result<(), DeviceRefused<Plain>> {
        request.complete(Ok(7));
        Ok(())
    }
}

#[test]
fn work_need_not_be_checked_and_has_no_copy() {
    let engine = Engine::builder(Arc::new(AtOnce)).build();
    assert_eq!(engine.run(Plain).unwrap(), 7);
    assert_eq!(engine.stats().checked, 0);
    assert!(Plain.duplicate().is_none());
}

#[test]
fn a_device_reports_no_credits_and_no_health_by_default() {
    assert_eq!(AtOnce.credits(Plain.kind()), None);
    assert_eq!(AtOnce.health(Duration::ZERO), Health::Unknown);
    assert_eq!(AtOnce.poll(Duration::ZERO), None);
    let Capabilities { completion_thread, needs_poll } = AtOnce.capabilities();
    assert!(!completion_thread && !needs_poll);
}
