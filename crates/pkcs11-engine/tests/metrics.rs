//! What a token has done arrives at a recorder of the facade `metrics`.

#[path = "../../engine-core/tests/metrics/seen.rs"]
mod seen;

use pkcs11_engine::TokenStats;

#[test]
fn every_failure_and_recovery_has_its_label() {
    let mut stats = TokenStats::default();
    stats.signatures = 9;
    stats.failures.login = 2;
    stats.restarts = 1;
    stats.is_stopped = true;
    let seen = seen::published(|| stats.publish("web"));
    assert_eq!(seen["layby_pkcs11_signatures_total web"], 9.0);
    assert_eq!(seen["layby_pkcs11_failures_total web login"], 2.0);
    assert_eq!(seen["layby_pkcs11_failures_total web device"], 0.0);
    assert_eq!(seen["layby_pkcs11_recoveries_total web module"], 1.0);
    assert_eq!(seen["layby_pkcs11_stopped web"], 1.0);
    assert_eq!(seen.len(), 1 + 7 + 3 + 1 + 1);
}
