//! The soak, short: a process of its own, so that the threads and descriptors of other tests are not counted.

use std::process::Command;

use serde_json::Value;

#[test]
fn l8_the_process_holds_as_much_after_thousands_of_handshakes_as_before() {
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["soak", "--handshakes", "2000", "--seed", "1", "--json"])
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(report["schema"], "layby.soak/1");
    let counted = |field: &str| report[field].as_u64().expect("a number");
    assert!(counted("begun") >= 2000, "{report}");
    // Not a soak in still water: faults struck, clients went, and others came through nevertheless.
    assert!(counted("faults") > 0 && counted("hung_up") > 0, "{report}");
    assert!(counted("completed") > 0, "{report}");
}
