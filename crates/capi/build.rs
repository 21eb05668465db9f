//! The shared library stays loaded: C code and the system hold addresses of its records and functions. Where the archive is
//! linked into a module, `load` sees to that.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
