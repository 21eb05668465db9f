//! Held handshakes, few of them: all are parked at once, some are completed, and nothing is left.

use handshake_lab::scenario::Scenario;
use support::run;

mod support;

#[test]
fn l8_l16_of_parked_handshakes_the_drawn_ones_are_completed_and_nothing_is_left_of_the_others() {
    let results = run(
        "million-parked",
        &["load.connections=600", "row.fiber.connections=300", "load.completed=100"],
    );
    for law in &results.laws {
        assert!(law.held && law.checked > 0, "{law:?}");
    }
    let checked: Vec<&str> = results.laws.iter().map(|law| law.law.as_str()).collect();
    assert!(["L8", "L12", "L16"].iter().all(|law| checked.contains(law)), "{checked:?}");
    for (row, parked) in results.rows.iter().zip([600, 300]) {
        assert_eq!((row.parked_peak, row.handshakes, row.failed), (parked, 100, 0), "{row:?}");
        assert_eq!(row.cancelled, parked - 100);
        assert!(row.parked_bytes.is_some_and(|bytes| bytes > 0.0));
    }
    for (name, level) in results.ledger.entries() {
        assert_eq!(level.now, 0, "{name} left over");
    }
}

#[test]
fn held_handshakes_are_parked_in_real_time() {
    let refused = |setting: &str| {
        let error = Scenario::find("million-parked", &[setting.to_owned()]).expect_err("refused");
        error.to_string()
    };
    assert_eq!(
        refused("clock=virtual"),
        "load.handshakes = \"held\": works in real time only; give clock = \"real\", or handshakes = \"real\""
    );
    assert_eq!(
        refused("row.fiber.mode=software"),
        "row.fiber.mode = \"software\": held handshakes are parked; give \"async\", or handshakes = \"real\""
    );
    assert!(refused("load.handshakes=real").starts_with("load.connections = 1000000: "));
}
