//! Random sequences of calls give the same results on OpenSSL's functions and on ours.

use crate::tools::{Header, Library, Program, has_libssl_dev, run_to_end};

/// Sequences of sixty calls, some of which run jobs of two dozen calls each.
const SEQUENCES: u32 = 10_000;
/// Run by one process.
const AT_ONCE: u32 = 500;

#[test]
fn ten_thousand_random_sequences_of_calls_give_what_openssl_gives() {
    if !has_libssl_dev() {
        return;
    }
    let program = Program::compile("differential.c", Header::OpenSsl, Library::Stock, &[]);
    let run = |library, args: &[String]| {
        let ended = run_to_end(program.command(library).args(args));
        ended.must_succeed("differential.c");
        assert_eq!(ended.stderr(), "", "{library:?}");
        ended.stdout()
    };
    for first in (0..SEQUENCES).step_by(AT_ONCE as usize) {
        let args = [first.to_string(), AT_ONCE.to_string()];
        let stock = run(Library::Stock, &args);
        let ours = run(Library::Preloaded, &args);
        assert_eq!(stock.lines().count(), AT_ONCE as usize);
        let differs = stock.lines().zip(ours.lines()).find(|(stock, ours)| stock != ours);
        let Some((line, _)) = differs else { continue };
        let seed = [line.split(' ').next().expect("a line begins with its seed").to_owned()];
        let (stock, ours) = (run(Library::Stock, &seed), run(Library::Preloaded, &seed));
        let at = stock.lines().zip(ours.lines()).position(|(stock, ours)| stock != ours);
        let show = |text: &str| -> Vec<String> {
            let from = at.unwrap_or(0).saturating_sub(10);
            text.lines().skip(from).take(15).map(str::to_owned).collect()
        };
        panic!("seed {seed:?}\nOpenSSL: {:#?}\nours: {:#?}", show(&stock), show(&ours));
    }
}
