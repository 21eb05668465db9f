//! Runs of built-in scenarios, as every test file of virtual time needs them.

use lab_report::{Progress, Results};

use handshake_lab::{run, scenario::Scenario};

/// Runs the built-in scenario `name`, changed by `overrides`.
pub(crate) fn run(name: &str, overrides: &[&str]) -> Results {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::find(name, &overrides).expect("valid");
    run::run(&scenario, &Progress::silent()).expect("runs")
}
