//! The output of the example `nine_steps`.

#[path = "../examples/nine_steps.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod nine_steps;

#[test]
fn the_nine_steps_of_the_manual_page_happen_in_order() {
    let mut printed = Vec::new();
    nine_steps::run(&mut printed).expect("both handshakes succeed");
    let expected = "\
1. set a callback
2. session 0: WantAsync
3. status Ok
2. session 1: WantAsync
3. status Again
4. the jobs have paused: 2
5. the device is done with one
6. and 7. the callback was called
8. session 0: WantRead
9. it saw Ok; now Ok
6. and 7. the callback was called
8. session 1: WantAsync
9. it saw Again; now Ok
5. the device is done with one
6. and 7. the callback was called
8. session 1: WantRead
9. it saw Ok; now Ok
";
    assert_eq!(String::from_utf8(printed).unwrap(), expected);
}
