//! The checks, in the order they run: the quick ones first.
//!
//! All steps build in one profile and one target folder, and the tests build everything in one cargo call, so that no
//! crate is compiled twice for want of the same features.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use verify::progress::Progress;
use verify::tools::{Tool, ToolBox};

use crate::summary::Outcome;

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What it checks, in a few words.
    pub(crate) about: &'static str,
    /// What must be there before it starts.
    pub(crate) tools: &'static [Tool],
    calls: &'static [Call],
}

/// One program that a step runs.
#[derive(Debug)]
struct Call {
    program: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// What a failure of this call means.
    on_failure: Verdict,
}

/// What a program's failure says.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// The check found something.
    Finding,
    /// The check cannot be made here; the text says why and what to type.
    CannotRun(&'static str),
}

const fn call(program: &'static str, arguments: &'static [&'static str]) -> Call {
    Call { program, arguments, variables: &[], on_failure: Verdict::Finding }
}

/// Compiles what the workspace leaves out: `mesh` on simulated sockets.
const FEATURE: &str = "--features=simulation";

/// All programs and tests, in one call: features are those of the whole workspace.
const BUILD: &[&str] = &["build", "--workspace", "--bins", "--tests", "--locked"];

/// What the suites need.
const SUITES: &[Tool] = &[
    Tool::Buf,
    Tool::Grpcurl,
    Tool::StripeMock,
    Tool::Python,
    Tool::Postgres,
    Tool::Faketime,
    Tool::PythonClient,
    Tool::TypeScriptClient,
    Tool::GoClient,
];

static STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "Rust code is formatted",
        tools: &[],
        calls: &[call("cargo", &["fmt", "--all", "--check", "--", "--color=never"])],
    },
    Step {
        name: "contract-lint",
        about: "the .proto files follow buf's rules and format",
        tools: &[Tool::Buf],
        calls: &[call("buf", &["lint"]), call("buf", &["format", "--diff", "--exit-code", "--path", "proto/holdfast"])],
    },
    Step {
        name: "deny",
        about: "bans, licences and sources of the dependencies",
        tools: &[Tool::CargoDeny],
        calls: &[call("cargo-deny", &["--locked", "check", "bans", "licenses", "sources"])],
    },
    Step {
        name: "advisories",
        about: "known vulnerabilities in the dependencies",
        tools: &[Tool::CargoDeny],
        calls: &[
            Call {
                on_failure: Verdict::CannotRun(
                    "the advisory database cannot be reached; where it can, type: .holdfast/tools/bin/cargo-deny fetch db",
                ),
                ..call("cargo-deny", &["--locked", "fetch", "db"])
            },
            call("cargo-deny", &["--locked", "check", "advisories"]),
        ],
    },
    Step {
        name: "clippy",
        about: "lints, warnings included",
        tools: &[],
        calls: &[call("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])],
    },
    Step {
        name: "test",
        about: "unit, service, contract, scenario and fault suites",
        tools: SUITES,
        calls: &[
            // With the tests, not before them: `--package holdfast` alone would resolve other features and compile
            // the dependencies once more.
            call("cargo", BUILD),
            call("cargo", &["test", "--workspace", "--locked", "--no-fail-fast"]),
        ],
    },
    Step {
        name: "pressure",
        about: "services under load while something is taken away from them",
        tools: &[Tool::Postgres],
        calls: &[call("cargo", BUILD), call("pressure", &["all"])],
    },
    Step {
        name: "faults",
        about: "services die at every crash point and at random, on both databases",
        tools: &[Tool::Postgres],
        calls: &[
            call(
                "cargo",
                &[
                    "build",
                    "--workspace",
                    "--features",
                    "holdfast/crash-points",
                    "--bin",
                    "holdfast-crash",
                    "--bin",
                    "faults",
                    "--locked",
                ],
            ),
            call("faults", &["--pairs", "10", "--random", "15"]),
        ],
    },
    Step {
        name: "test-postgres",
        about: "what keeps data, on PostgreSQL; above it was on SQLite",
        tools: SUITES,
        calls: &[Call {
            variables: &[("HOLDFAST_TEST_DATABASE", "postgres")],
            ..call(
                "cargo",
                &[
                    // All packages, or others' features would have everything compiled once more. Not the gates, which have other names.
                    "test",
                    "--workspace",
                    "--locked",
                    "--lib",
                    "--test",
                    "it",
                    "--",
                    // What has chosen its database by itself has run already.
                    "--skip",
                    "postgres",
                    "--skip",
                    "replicas",
                    "--skip",
                    "databases::",
                    "--skip",
                    "outages::database::",
                    "--skip",
                    "up::",
                    // Asks of clients what no database changes.
                    "--skip",
                    "foreign::",
                ],
            )
        }],
    },
    Step {
        name: "simulation",
        about: "the whole mesh on simulated machines, with misfortunes decided by seeds",
        tools: &[],
        calls: &[
            call(
                "cargo",
                &["clippy", "--package", "simulation", FEATURE, "--all-targets", "--locked", "--", "-D", "warnings"],
            ),
            call("cargo", &["test", "--package", "simulation", FEATURE, "--locked"]),
            call(
                "cargo",
                &["run", "--package", "simulation", FEATURE, "--locked", "--", "--seeds", "0..10000", "--limit", "60"],
            ),
        ],
    },
    Step {
        name: "java",
        about: "a generated Java client compiles",
        tools: &[Tool::JavaClient],
        calls: &[call(
            "cargo",
            &["test", "--workspace", "--locked", "--test", "it", "--", "--ignored", "a_java_client_compiles"],
        )],
    },
    Step {
        name: "doc",
        about: "the documentation builds, links included",
        tools: &[],
        calls: &[Call {
            variables: &[("RUSTDOCFLAGS", "-D warnings")],
            ..call("cargo", &["doc", "--workspace", "--no-deps", "--locked"])
        }],
    },
];

/// Every step, in order.
pub(crate) fn all() -> &'static [Step] {
    STEPS
}

impl Step {
    /// Runs the step's programs one after the other, up to the first that fails.
    pub(crate) fn run(&self, tools: &ToolBox, progress: &Progress) -> Outcome {
        run_calls(self.calls, tools, progress)
    }
}

fn run_calls(calls: &[Call], tools: &ToolBox, progress: &Progress) -> Outcome {
    for call in calls {
        let mut command = Command::new(locate(call.program));
        tools.prepare(&mut command).args(call.arguments).envs(call.variables.iter().copied());
        match (progress.run(&mut command), call.on_failure) {
            (Ok(status), _) if status.success() => {}
            (Ok(status), Verdict::Finding) => {
                let arguments = call.arguments.join(" ");
                return Outcome::Failed(format!("{} {arguments} ended with {status}", call.program));
            }
            (Ok(_), Verdict::CannotRun(why)) => return Outcome::Unavailable(why.to_owned()),
            (Err(error), _) => return Outcome::Unavailable(format!("{error:#}")),
        }
    }
    Outcome::Passed
}

/// A program of the workspace lies beside this one; any other is looked up where programs are.
fn locate(program: &str) -> PathBuf {
    let ours = env::current_exe().ok().map(|this| this.with_file_name(program)).filter(|path| path.exists());
    ours.unwrap_or_else(|| program.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn outcome(calls: &[Call]) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        let tools = ToolBox::at(folder.path(), &folder.path().join("tools")).unwrap();
        let log = tools.log_path("sample");
        let outcome = run_calls(calls, &tools, &Progress::new("sample", &log));
        (outcome, fs::read_to_string(log).unwrap_or_default())
    }

    #[test]
    fn a_program_that_fails_fails_the_step_and_ends_it() {
        let (outcome, output) = outcome(&[
            call("sh", &["-c", "echo first"]),
            call("sh", &["-c", "echo broken >&2; exit 3"]),
            call("sh", &["-c", "echo never"]),
        ]);
        assert!(matches!(&outcome, Outcome::Failed(what) if what.contains("exit status: 3")), "{outcome:?}");
        assert_eq!(output, "first\nbroken\n");
    }

    #[test]
    fn a_step_passes_when_all_its_programs_do() {
        assert_eq!(outcome(&[call("true", &[]), call("true", &[])]).0, Outcome::Passed);
    }

    #[test]
    fn a_program_that_is_not_there_makes_the_step_unavailable() {
        let (outcome, _) = outcome(&[call("no-such-program-anywhere", &[])]);
        assert!(
            matches!(&outcome, Outcome::Unavailable(what) if what.contains("no-such-program-anywhere")),
            "{outcome:?}"
        );
    }

    #[test]
    fn a_failing_precondition_is_unavailability_not_a_finding() {
        let (outcome, _) = outcome(&[Call { on_failure: Verdict::CannotRun("no network"), ..call("false", &[]) }]);
        assert_eq!(outcome, Outcome::Unavailable("no network".to_owned()));
    }

    #[test]
    fn step_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
