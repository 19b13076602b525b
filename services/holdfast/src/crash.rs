//! `holdfast`, but it dies at the points that `HOLDFAST_CRASH_POINT` names ([`mesh::crash_point`]), and lists them all with `crash-points`.

use std::process::ExitCode;

use mesh::crash_point;

fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["crash-points"]) {
        crash_point::names().iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    if let Ok(orders) = std::env::var("HOLDFAST_CRASH_POINT")
        && let Err(error) = crash_point::arm(&orders)
    {
        eprintln!("error: HOLDFAST_CRASH_POINT: {error}");
        return ExitCode::from(2);
    }
    holdfast::main(std::env::args_os())
}
