//! A `TaskDevice` under several engines.

use std::sync::Arc;
use std::time::Duration;

use engine_core::{CheckFailed, DeviceError, Engine, EngineError, Kind, Work};
use ssl_async::task::TaskDevice;
use tokio::sync::Semaphore;

use crate::world::paused;

/// Work whose call panics, or does not.
struct Call {
    panics: bool,
}

impl Work for Call {
    type Output = ();

    fn kind(&self) -> Kind {
        Kind::new("call")
    }

    fn check(&self, (): &()) -> Result<(), CheckFailed> {
        Ok(())
    }
}

#[test]
fn l3_a_call_that_panics_leaves_its_place_to_another_engine() {
    paused().block_on(async {
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let device = TaskDevice::new(move |call: &Call| {
            let (panics, gate) = (call.panics, Arc::clone(&opened));
            async move {
                gate.acquire().await.expect("it is not closed").forget();
                if panics {
                    std::panic::panic_any("a bug in a client library");
                }
                Ok(())
            }
        });
        let device = Arc::new(device.in_flight(1));
        let engine = || Engine::builder(Arc::clone(&device) as _).build();
        let (one, other) = (engine(), engine());
        let first = one.submit(Call { panics: true }).map_err(|refused| refused.reason).unwrap();
        let second =
            other.submit(Call { panics: false }).map_err(|refused| refused.reason).unwrap();
        assert_eq!((one.stats().accepted, other.stats().accepted), (1, 0));
        gate.add_permits(2);
        let first = first.await;
        assert!(matches!(first, Err(EngineError::Device(DeviceError::Failed(_)))), "{first:?}");
        let second = tokio::time::timeout(Duration::from_secs(60), second).await;
        second.expect("the device is idle").unwrap();
    });
}
