//! A card hangs; the driver notices by the heartbeat, resets the card and submits again.
//!
//! `cargo run -p layby-sim-device --example breakdown` prints the trace.

use core::time::Duration;

use sim_device::{Fault, FaultPlan, FaultRule, Instance, InstanceConfig, Profile, Trigger};

/// The driver's period of reading the heartbeat; the card counts twice as often.
const CHECK: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hang = Fault::Hang { lasts: Duration::from_secs(3_600) };
    let config = InstanceConfig {
        faults: FaultPlan {
            rules: vec![FaultRule::new(hang, Trigger::At(Duration::from_micros(200)))],
            ..FaultPlan::default()
        },
        ..Profile::AcceleratorCard.instance_config()
    };
    let mut card = Instance::new(config, 7)?;
    card.set_trace(true);
    for key in 0..3u32 {
        card.submit(Duration::ZERO, Profile::RSA_SIGN, key)?;
    }

    let (mut beats, mut signed, mut answers) = (0, Vec::new(), Vec::new());
    for now in (1..=3).map(|n| n * CHECK) {
        let count = card.heartbeat(now);
        if count == beats {
            card.reset(now, Duration::from_millis(50));
        }
        beats = count;
        card.poll_responses(64, &mut answers);
        for answer in answers.drain(..) {
            let key = answer.payload.expect("no duplicates are planned");
            if answer.status.claims_success() {
                signed.push(key);
            } else {
                // After the reset.
                card.submit(now + CHECK / 2, Profile::RSA_SIGN, key)?;
            }
        }
    }

    card.drain_trace().for_each(|record| println!("{record}"));
    assert_eq!(signed, [0, 1, 2]);
    assert_eq!(card.stats().faults, 1);
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("the card recovers");
}
