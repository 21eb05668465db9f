//! The page that shows the adapters.

use std::path::Path;

const PAGE: &str = "docs/adapters.md";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

pub(crate) fn has(text: &str) {
    assert!(read(PAGE).contains(text), "{PAGE} has not:\n{text}");
}

#[test]
fn the_page_shows_the_files() {
    for name in ["listener", "axum_server", "client", "stream"] {
        let file = read(&format!("tests/adapters/src/{name}.rs"));
        // Without its first lines, which are the page's to say.
        let (_, code) = file.split_once("\n\n").unwrap();
        has(&format!("```rust\n{code}```"));
    }
}
