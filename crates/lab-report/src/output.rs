//! Printing to standard output and standard error, for the programs of the laboratory and, by path, for xtask.
//!
//! `println!` and `eprintln!` panic when the pipe's reader has closed it, as in `lab sim --list | head -1`. The functions here
//! drop the text and the program continues: files and exit status do not depend on the reader. `SIGPIPE` stays ignored, as
//! Rust's runtime sets it, because at its default action it would end a server that writes to a closed connection.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _},
};

/// Prints to standard output.
///
/// # Errors
/// What the system says when it cannot take the text, such as a full disk. A closed pipe is none.
pub fn print(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a line to standard output.
///
/// # Errors
/// As [`print()`].
pub fn print_line(line: impl Display) -> io::Result<()> {
    print(format_args!("{line}\n"))
}

/// Prints a line to standard error, and drops it if that takes nothing: there is no other place to report it.
pub fn eprint_line(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
