//! The tutorial of the laboratory, followed: its commands run, in its order, and print what it says.

use std::path::Path;
use std::{env, fs};

use layby_tests::lab;

const PAGE: &str = "docs/planning.md";

/// Commands that are not run, by their beginning: those that measure this machine, and one that needs another build.
const LEFT_OUT: [&str; 4] = [
    "cargo xtask lab calibrate",
    "cargo xtask sim mine.toml --profile",
    "cargo xtask bench clocks",
    "cargo xtask sim swarm --seeds 20 --plant",
];

/// Numbers that only take time, and what the test takes instead.
const SHORTER: [(&str, &str); 1] = [("--seeds 20000", "--seeds 100")];

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(PAGE)).expect("a page")
}

/// The commands of `cargo xtask` in the page's blocks, without their comments.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("cargo xtask "));
    lines.map(|line| line.split(" #").next().unwrap_or_default().trim()).collect()
}

/// The words of the lab for a command, and the file that it writes.
fn as_lab(command: &str) -> (Vec<String>, Option<String>) {
    let mut command = command.replace("cargo xtask lab ", "").replace("cargo xtask ", "");
    for (long, short) in SHORTER {
        command = command.replace(long, short);
    }
    let (words, file) = match command.split_once(" > ") {
        Some((words, file)) => (words.to_owned(), Some(file.trim().to_owned())),
        None => (command, None),
    };
    (words.split_whitespace().map(str::to_owned).collect(), file)
}

/// What the row of this name has in this column of a table.
fn cell(output: &str, row: &str, column: &str) -> f64 {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut head = Vec::new();
    for line in output.lines().map(cells) {
        if line.get(1).is_some_and(|first| first == "row") {
            head = line;
        } else if line.get(1).is_some_and(|first| first == row) {
            let at = head.iter().position(|name| name == column).expect("such a column");
            return line[at].parse().expect("a number");
        }
    }
    panic!("no row {row} in:\n{output}")
}

/// The number in the page between these words.
fn said(page: &str, before: &str, after: &str) -> f64 {
    let at = page.find(before).unwrap_or_else(|| panic!("the page says: {before}")) + before.len();
    let number = page[at..].split(after).next().expect("there is always a first part");
    number.trim().replace(',', "").parse().unwrap_or_else(|_| panic!("a number: {number}"))
}

#[test]
fn the_commands_of_the_tutorial_run_and_print_what_it_says() {
    let (page, dir) = (page(), tempfile::tempdir().expect("a directory"));
    let (mut left_out, mut run) = (0, 0);
    for command in commands(&page) {
        if LEFT_OUT.iter().any(|begin| command.starts_with(begin)) {
            left_out += 1;
            continue;
        }
        run += 1;
        let (words, file) = as_lab(command);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = lab(dir.path(), &words);
        assert!(output.status.success(), "{command}:\n{}\n{}", output.stdout, output.stderr);
        if let Some(file) = file {
            fs::write(dir.path().join(file), &output.stdout).expect("a file");
        }
        let printed = output.stdout + &output.stderr;
        match command {
            "cargo xtask sim hsm" => {
                let page_says = [
                    ("nine-tenths", "p50 ms", said(&page, "`nine-tenths` answers: p50", "ms")),
                    ("nine-tenths", "p99 ms", said(&page, "p50 22 ms, p99", "ms")),
                    ("waiting", "p99 ms", said(&page, "a second: p99", "ms")),
                ];
                for (row, column, expected) in page_says {
                    let is = cell(&printed, row, column).round();
                    assert!((is - expected).abs() < 0.5, "{row}, {column}: {is}, not {expected}");
                }
            }
            "cargo xtask sim mine.toml" => {
                let block = page.split("```text\n").nth(1).expect("the knee");
                let knee = block.lines().next().expect("a line");
                assert!(printed.contains(knee), "not \"{knee}\":\n{printed}");
            }
            "cargo xtask sim swarm --seeds 20000" => {
                assert!(printed.contains("No seed broke a law."), "{printed}");
            }
            _ => {}
        }
    }
    assert_eq!(left_out, LEFT_OUT.len(), "each is on the page");
    assert!(run >= 8, "the page has its commands still: {run}");
}

/// The scenarios that the page names beside its commands exist.
#[test]
fn the_scenarios_that_the_tutorial_names_exist() {
    let list = lab(Path::new(env!("CARGO_MANIFEST_DIR")), &["sim", "--list"]).stdout;
    let listed = |name: &str| list.lines().any(|line| line.trim().starts_with(&format!("{name} ")));
    for name in [
        "capacity",
        "device-standby",
        "hsm",
        "million",
        "million-in-flight",
        "mixed-fleet",
        "opportunistic",
        "published-shapes",
    ] {
        assert!(page().contains(name), "the page names {name}");
        assert!(listed(name), "no scenario {name}:\n{list}");
    }
}
