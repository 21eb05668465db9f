//! Memory of this process and of this machine, as the kernel counts it (proc(5)): Linux only.

use std::{fs, io};

/// Bytes of this process that are in memory, without page tables. Exact: the number in `/proc/self/status` may be behind by
/// some pages for each thread.
///
/// # Errors
/// When there is no such thing here.
pub fn resident() -> io::Result<u64> {
    field("/proc/self/smaps_rollup", "Rss:")
}

/// As [`resident`], with page tables.
///
/// # Errors
/// When there is no such thing here.
pub fn resident_with_page_tables() -> io::Result<u64> {
    Ok(resident()? + field("/proc/self/status", "VmPTE:")?)
}

/// Bytes that processes can still get from this machine.
///
/// # Errors
/// When there is no such thing here.
pub fn available() -> io::Result<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

fn field(file: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("{file} without {name}"));
    kib.map(|kib| kib * 1024).ok_or_else(missing)
}
