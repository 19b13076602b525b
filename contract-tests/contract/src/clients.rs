//! Clients in other languages: what the language's own generators make of the contracts, in a package with a
//! [service config](service_config) and a helper that applies it.
//!
//! `contract-tests/clients/<language>/package` holds what every package has; nothing generated is kept there. The
//! generators are pinned there too, and fetched as the tools of the checks are; Java's belong to its package's own build.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use verify::{
    progress::Progress,
    tools::{Tool, ToolBox},
};

use crate::{Baseline, DescriptorSet, Project, service_config};

/// What the files of a package say in place of the contracts' version.
const UNVERSIONED: &str = "0.0.0-contracts";
/// The one import whose package would bring much more, where there is one.
const VALIDATE: &str = "buf/validate/validate.proto";

/// A language that a client can be generated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Language {
    Python,
    TypeScript,
    Go,
    Java,
}

impl Language {
    /// What its folder is called.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::TypeScript => "typescript",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    /// Where its package keeps the service config.
    const fn service_config(self) -> &'static str {
        match self {
            Self::Python => "holdfast/service_config.json",
            Self::TypeScript => "src/service_config.json",
            Self::Go => "service_config.json",
            Self::Java => "src/main/resources/dev/holdfast/service_config.json",
        }
    }

    const fn tools(self) -> &'static [Tool] {
        match self {
            Self::Python => &[Tool::PythonClient],
            Self::TypeScript => &[Tool::Buf, Tool::TypeScriptClient],
            Self::Go => &[Tool::Buf, Tool::GoClient],
            Self::Java => &[],
        }
    }
}

/// Writes a client's package into a folder that is empty or not there yet.
///
/// # Errors
///
/// The folder holds something already; a tool cannot be fetched, or fails; a file cannot be written; the baseline, which
/// names the version, cannot be read.
pub fn generate(project: &Project, set: &DescriptorSet, language: Language, out: &Path) -> Result<()> {
    let out = std::path::absolute(out)?;
    let is_empty = fs::read_dir(&out).map_or(true, |mut files| files.next().is_none());
    ensure!(is_empty, "{} is not empty: what an earlier version left there would stay", out.display());
    let tools = ToolBox::open(project.root())?;
    for tool in language.tools() {
        tools.ensure(*tool)?;
    }
    copy(&project.client(language).join("package"), &out, &version(project)?)?;
    write(&out.join(language.service_config()), &service_config::json(set))?;
    let mut generator = match language {
        Language::Python => protoc(&tools, project, set, &out),
        Language::TypeScript | Language::Go => buf(project, language, &out),
        Language::Java => return java(project, set, &out),
    };
    let label = format!("client-{}", language.as_str());
    Progress::new(&label, &tools.log_path(&label)).must(tools.prepare(&mut generator))
}

/// The last release's.
fn version(project: &Project) -> Result<String> {
    let baseline = Baseline::read(&project.baseline())?;
    let last = baseline.releases.last().context("the baseline holds no release")?;
    Ok(last.entry.version.to_string())
}

/// Copies a folder, with the version in its files.
fn copy(from: &Path, to: &Path, version: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to, version)?;
        } else {
            write(&to, &fs::read_to_string(&from)?.replace(UNVERSIONED, version))?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, text));
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// gRPC's generator for Python comes as a Python package, with a protoc of its own.
fn protoc(tools: &ToolBox, project: &Project, set: &DescriptorSet, out: &Path) -> Command {
    let (sources, out) = (project.sources(), out.display());
    let mut command = Command::new(tools.path("python-client/bin/python"));
    command.args(["-m", "grpc_tools.protoc"]);
    command.arg("-I").arg(&sources).arg("-I").arg(sources.join("vendor"));
    for plugin in ["protoc-gen-mypy", "protoc-gen-mypy_grpc"] {
        let path = tools.path("python-client/bin").join(plugin);
        command.arg(format!("--plugin={plugin}={}", path.display()));
    }
    command.arg(format!("--python_out={out}")).arg(format!("--grpc_python_out={out}"));
    command.arg(format!("--mypy_out=quiet:{out}")).arg(format!("--mypy_grpc_out=quiet:{out}"));
    command.args(set.files().map(|file| file.name().to_owned())).arg(VALIDATE);
    command
}

/// The language's plugins, as its template names them.
fn buf(project: &Project, language: Language, out: &Path) -> Command {
    let mut command = Command::new("buf");
    command.arg("generate").arg("--template").arg(project.client(language).join("buf.gen.yaml"));
    command.arg("--output").arg(out);
    command
}

/// The package's own build generates; it gets the contracts, which themselves say nothing of Java.
fn java(project: &Project, set: &DescriptorSet, out: &Path) -> Result<()> {
    let sources = out.join("src/main/protobuf");
    for file in set.files() {
        let text = fs::read_to_string(project.sources().join(file.name()))?;
        let package = format!("package {};\n", file.package_name());
        let options =
            format!("option java_multiple_files = true;\noption java_package = \"dev.{}\";\n", file.package_name());
        write(&sources.join(file.name()), &text.replacen(&package, &format!("{package}\n{options}"), 1))?;
    }
    write(&sources.join(VALIDATE), &fs::read_to_string(project.sources().join("vendor").join(VALIDATE))?)
}
