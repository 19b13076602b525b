//! What comes from the distribution: PostgreSQL's programs, Python's module for virtual environments, Maven, and the library that fakes clocks.
//!
//! As root the packages are installed; otherwise the line to type is the error. Other systems have other names for them,
//! so only what is missing counts, not where it came from.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::progress::Progress;

/// Where Debian puts PostgreSQL's programs, one folder per major version, outside `PATH`.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// # Errors
///
/// `initdb` is nowhere to be found and cannot be installed.
pub(super) fn ensure_postgres(progress: &Progress) -> anyhow::Result<()> {
    ensure(has_postgres, &["postgresql"], "PostgreSQL", progress)
}

/// # Errors
///
/// `python3 -m venv` does not work and cannot be made to.
pub(super) fn ensure_python(progress: &Progress) -> anyhow::Result<()> {
    ensure(has_venv, &["python3", "python3-venv"], "Python 3 with its venv module", progress)
}

/// # Errors
///
/// The library is nowhere to be found and cannot be installed.
pub(super) fn ensure_faketime(progress: &Progress) -> anyhow::Result<()> {
    ensure(has_faketime, &["faketime"], "libfaketime", progress)
}

/// # Errors
///
/// `mvn` or `javac` is nowhere to be found and cannot be installed.
pub(super) fn ensure_maven(progress: &Progress) -> anyhow::Result<()> {
    ensure(has_maven, &["maven", "default-jdk-headless"], "Maven with a JDK", progress)
}

fn ensure(is_there: fn() -> bool, packages: &[&str], what: &str, progress: &Progress) -> anyhow::Result<()> {
    if is_there() {
        return Ok(());
    }
    let line = format!("apt-get install -y {}", packages.join(" "));
    anyhow::ensure!(is_root(), "{what} is missing; type: sudo {line}");
    println!("   installing {what}");
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        progress.must(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let installed = apt_get(&["update"])
        .and_then(|()| apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat()));
    installed.map_err(|error| error.context(format!("{what} is missing; type: {line}")))?;
    anyhow::ensure!(is_there(), "{what} is still missing after: {line}");
    Ok(())
}

fn has_postgres() -> bool {
    let versioned =
        fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    versioned.chain(env::split_paths(&path)).any(|folder| has_server(&folder))
}

/// Debian keeps it outside the loader's path, in a folder of each architecture.
fn has_faketime() -> bool {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.map(|folder| folder.path()).any(|folder| folder.join("faketime/libfaketime.so.1").is_file())
}

fn has_server(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// Debian's `python3` has the module but not what it installs into an environment, hence both.
fn has_venv() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

fn has_maven() -> bool {
    succeeds(Command::new("mvn").arg("--version")) && succeeds(Command::new("javac").arg("--version"))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
