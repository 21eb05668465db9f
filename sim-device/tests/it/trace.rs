//! The text of the trace, and its dependence on seed and configuration.

use sim_device::{Fault, FaultPlan, FaultRule, InstanceConfig, InterruptMode, Trigger};

use crate::{SIGN, device, drain, group, simple, us};

#[test]
fn the_trace_tells_the_whole_story() {
    let rules = vec![
        FaultRule::new(Fault::Duplicate, Trigger::Nth(2)),
        FaultRule::new(Fault::Reset { downtime: us(9) }, Trigger::At(us(40))),
    ];
    let config = InstanceConfig {
        ring_depth: 3,
        response_depth: 2,
        units: vec![group(SIGN, 2, us(10))],
        interrupts: InterruptMode::Coalesced { responses: 2, delay: us(5) },
        faults: FaultPlan { rules, budget: None },
        ..simple()
    };
    let mut device = device(config);
    device.set_trace(true);
    for at in 0..4 {
        let _refused = device.submit(us(at), SIGN, ());
    }
    device.advance(us(30));
    drain(&mut device);
    device.submit(us(35), SIGN, ()).unwrap();
    device.advance(us(60));
    drain(&mut device);

    let text: Vec<_> = device.drain_trace().map(|record| record.to_string()).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    0 submitted entry=0 class=0
    1000 started entry=0
    1000 submitted entry=1 class=0
    2000 started entry=1
    2000 submitted entry=2 class=0
    3000 refused class=0 reason=ring-full
    11000 finished entry=0
    11000 answered entry=0 outcome=finished
    11000 started entry=2
    12000 finished entry=1
    12000 struck entry=1 fault=duplicate
    12000 answered entry=1 outcome=finished
    14000 interrupt
    21000 finished entry=2
    21000 answered entry=2 outcome=finished
    21000 stalled entry=2
    30000 drained entry=0 payload=true
    30000 drained entry=1 payload=true
    30000 drained entry=1 payload=false
    30000 drained entry=2 payload=true
    35000 submitted entry=3 class=0
    36000 started entry=3
    40000 struck fault=reset ns=9000
    40000 went-away outcome=reset
    40000 answered entry=3 outcome=reset
    49000 returned
    60000 drained entry=3 payload=true
    ");
    assert_eq!(device.drain_trace().count(), 0);
}

/// The order at one instant, as the crate's documentation gives it.
#[test]
fn at_one_instant_recovery_comes_before_work_work_before_doorbells_and_interrupts_last() {
    let config = InstanceConfig {
        units: vec![group(SIGN, 2, us(10))],
        doorbell: us(10),
        interrupts: InterruptMode::PerResponse,
        interrupt_latency: us(0),
        ..simple()
    };
    let mut device = device(config);
    device.submit(us(0), SIGN, ()).unwrap();
    device.submit(us(10), SIGN, ()).unwrap();
    device.inject(us(10), Fault::HeartbeatLoss { lasts: us(10) });
    device.set_trace(true);
    device.advance(us(20));
    let text: Vec<_> = device.drain_trace().map(|record| record.to_string()).collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    20000 recovered
    20000 finished entry=0
    20000 answered entry=0 outcome=finished
    20000 started entry=1
    20000 interrupt
    ");
}
