//! The one binary: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::main(std::env::args_os())
}
