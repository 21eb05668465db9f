//! The pages of a run in a real browser: nothing complains, nothing is empty, nothing overlaps, and a phone of 360 pixels
//! needs no sideways scrolling.
//!
//! Run by `cargo xtask ci --full`, or `cargo test --package layby-tests --test page`. Without Chromium it says so and passes,
//! unless `LAYBY_REQUIRE` names `chromium`.

use std::fs;
use std::path::Path;

use layby_tests::{chromium, headless, lab, run};
use serde_json::Value;

/// Shows a page in a frame of each width, measures it there, and leaves what it found in the title.
///
/// A frame, since no window of this browser is as narrow as a phone; by `srcdoc`, since a frame of a file may not be looked
/// into.
const PROBE: &str = r#"<!doctype html><html><head><meta charset="utf-8"><title>nothing yet</title></head><body><script>
const page = PAGE;
const found = [];
function look(frame) {
  const document = frame.contentDocument, root = document.documentElement;
  const plots = [...document.querySelectorAll("figure > svg")];
  const text = element => element.getBoundingClientRect();
  const overlaps = [], empty = [], outside = [];
  for (const plot of plots) {
    const title = plot.querySelector("title").textContent;
    if (!plot.querySelector("polyline, circle")) empty.push(title);
    const labels = [...plot.querySelectorAll("text")], around = plot.getBoundingClientRect();
    labels.forEach((a, at) => {
      const box = text(a);
      if (box.left < around.left - 1 || box.right > around.right + 1 || box.top < around.top - 1
          || box.bottom > around.bottom + 1) outside.push(title + ": " + a.textContent.trim());
      for (const b of labels.slice(at + 1)) {
        const other = text(b);
        if (box.left < other.right && other.left < box.right && box.top < other.bottom
            && other.top < box.bottom) overlaps.push(title + ": " + a.textContent.trim() + " and " + b.textContent.trim());
      }
    });
  }
  const style = frame.contentWindow.getComputedStyle(document.body);
  return { width: root.clientWidth, needed: root.scrollWidth, plots: plots.length, overlaps, empty, outside,
    tables: document.querySelectorAll("details table").length, paper: style.backgroundColor, ink: style.color };
}
let left = 2;
for (const width of [360, 1200]) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:800px;border:0`;
  frame.srcdoc = page;
  frame.onload = () => {
    found.push(look(frame));
    if (--left === 0) document.title = JSON.stringify(found);
  };
  document.body.append(frame);
}
</script></body></html>"#;

/// What the probe found of a page, at both widths, in the light or the dark scheme.
fn look(browser: &str, page: &Path, dark: bool) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let html = fs::read_to_string(page).expect("the page is there");
    // As a string of JavaScript that does not end the script around it.
    let literal = serde_json::to_string(&html).expect("text").replace("</", "<\\/");
    let probe = directory.path().join("probe.html");
    fs::write(&probe, PROBE.replace("PAGE", &literal)).expect("written");
    let mut command = headless(browser, &directory.path().join("profile"));
    command.arg("--virtual-time-budget=10000");
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    command.arg(format!("file://{}", probe.display()));
    let ran = run(&mut command, b"");
    let complaints: Vec<&str> =
        ran.stderr.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{}: {complaints:?}", page.display());
    let title = ran.stdout.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let (found, _) = title.unwrap_or_else(|| panic!("no title; {}", ran.stderr));
    let found: Value = serde_json::from_str(found).unwrap_or_else(|e| panic!("{e}: {found}"));
    found.as_array().expect("one for each width").clone()
}

fn is_well(page: &Path, found: &Value, plots: u64) {
    let told = format!("{}: {found}", page.display());
    assert!(found["needed"].as_u64() <= found["width"].as_u64(), "too wide: {told}");
    assert!(found["plots"].as_u64() >= Some(plots), "too few plots: {told}");
    assert!(found["tables"].as_u64() >= Some(plots), "plots without data: {told}");
    for fault in ["overlaps", "empty", "outside"] {
        assert!(found[fault].as_array().is_some_and(Vec::is_empty), "{fault}: {told}");
    }
}

#[test]
fn the_pages_are_well_in_a_real_browser() {
    let Some(browser) = chromium() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let small =
        ["--clock", "virtual", "--set", "load.handshakes=profiled", "--set", "load.seconds=0.5"];
    for (name, args) in [
        ("a", &["sim", "device-reset"][..]),
        ("again", &["sim", "device-reset"]),
        ("b", &["sim", "deadline-fallback"]),
        ("c", &["sim"]),
    ] {
        let mut args = args.to_vec();
        if name == "c" {
            args.extend(small);
        }
        args.extend(["--report", name]);
        let ran = lab(directory.path(), &args);
        assert!(ran.status.success(), "{}", ran.stderr);
    }
    let ran = lab(directory.path(), &["diff", "a", "again", "--report", "."]);
    assert!(ran.status.success(), "{}", ran.stderr);
    for (page, plots) in
        [("a/report.html", 9), ("b/report.html", 8), ("c/report.html", 8), ("diff.html", 4)]
    {
        let page = directory.path().join(page);
        for dark in [false, true] {
            let found = look(browser, &page, dark);
            assert_eq!(found.len(), 2);
            found.iter().for_each(|found| is_well(&page, found, plots));
            let paper = if dark { "rgb(20, 23, 27)" } else { "rgb(255, 255, 255)" };
            assert_eq!(found[0]["paper"], paper, "dark: {dark}");
        }
    }
}
