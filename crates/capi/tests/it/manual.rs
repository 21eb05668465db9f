//! What the manual pages say, a program for each paragraph: compiled with OpenSSL's header and with ours, and run on
//! OpenSSL's functions and on ours.

use crate::tools::{Header, Library, Program, c_sources, has_libssl_dev, run_to_end};

fn programs() -> Vec<String> {
    let folder = std::fs::read_dir(c_sources().join("manual")).expect("the programs are there");
    let names = folder.map(|entry| entry.expect("list them").file_name());
    let mut names: Vec<_> =
        names.map(|name| format!("manual/{}", name.to_string_lossy())).collect();
    names.sort();
    assert!(names.len() >= 13, "{names:?}");
    names
}

fn run(program: &Program, name: &str, library: Library) {
    let ended = run_to_end(&mut program.command(library));
    ended.must_succeed(&format!("{name}, {library:?}"));
    assert_eq!(ended.stderr(), "", "{name}, {library:?}");
}

#[test]
fn each_paragraph_holds_with_either_header_on_either_library() {
    if !has_libssl_dev() {
        return;
    }
    for name in programs() {
        for header in [Header::OpenSsl, Header::Ours] {
            let program = Program::compile(&name, header, Library::Stock, &[]);
            run(&program, &name, Library::Stock);
            run(&program, &name, Library::Preloaded);
        }
        let program = Program::compile(&name, Header::Ours, Library::Linked, &[]);
        run(&program, &name, Library::Linked);
    }
}

#[test]
fn the_archive_takes_the_place_of_the_shared_library() {
    if !has_libssl_dev() {
        return;
    }
    for name in ["manual/pause_and_resume.c", "manual/library_context.c"] {
        let program = Program::compile(name, Header::Ours, Library::Static, &[]);
        run(&program, name, Library::Static);
        let mut command = program.command(Library::Static);
        let ended = run_to_end(command.env("LAYBY_STATS", "1"));
        assert!(ended.stderr().contains(" finished"), "{name}: {}", ended.stderr());
    }
}

#[test]
fn a_program_of_cxx_compiles_with_the_header() {
    if !has_libssl_dev() {
        return;
    }
    let both = "#include \"layby_async.h\"\n#include <openssl/async.h>\n#include \"layby_async.h\"\n\
                #include <openssl/ssl.h>\nint main() { return !ASYNC_is_capable(); }\n";
    let folder = tempfile::TempDir::new().expect("a folder");
    for name in ["both.c", "both.cc"] {
        let source = folder.path().join(name);
        std::fs::write(&source, both).expect("write the source");
        let mut cc = std::process::Command::new("cc");
        cc.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"]);
        cc.arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("include")).arg(&source);
        run_to_end(&mut cc).must_succeed(name);
    }
}
