//! The same program text over both libraries: only the line with `use` differs.

use std::collections::HashSet;

mod before {
    use tokio_rustls as tls;
    include!("program.in");
}

mod after {
    use ssl_async::task::compat as tls;
    include!("program.in");
}

#[test]
fn a_program_of_tokio_rustls_compiles_by_one_import_and_observes_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (before, after) = runtime.block_on(async { (before::run().await, after::run().await) });
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    let names: HashSet<&str> = before.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), before.len(), "each part once");
}
