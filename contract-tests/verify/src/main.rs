//! `cargo verify`: runs every check of the repository and says what came of each.
//!
//! A step ends in one of three ways: it passed, it failed, or it could not be run because something it needs could not
//! be had. Only the first is success. Nothing is skipped silently: what was not selected, and what could not be run, is
//! printed with the line to type. A step is allowed to be unavailable only by name (`--allow-unavailable`).
//!
//! The tools that the checks need are fetched once, pinned, into `.holdfast/tools` (see [`verify::tools`]). This program decides
//! nothing about the code: every check is a program that can also be run by hand, and its command line is printed.

mod arguments;
mod steps;
mod summary;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Arguments, Request};
use steps::Step;
use summary::{Outcome, Report, Summary};
use verify::{progress::Progress, tools::ToolBox};

fn main() -> ExitCode {
    let steps = steps::all();
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let arguments = match arguments::parse(env::args().skip(1), &names) {
        Ok(Request::Run(arguments)) => arguments,
        Ok(Request::Help) => {
            print!("{}", arguments::usage(&names));
            return ExitCode::SUCCESS;
        }
        Ok(Request::List) => {
            for step in steps {
                println!("{:<14} {}", step.name, step.about);
            }
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("cargo verify: {complaint}\n\n{}", arguments::usage(&names));
            return ExitCode::from(2);
        }
    };
    match verify(steps, &arguments) {
        Ok(summary) => {
            print!("{summary}");
            if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cargo verify: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the selected steps in their order, each to its end: a failure does not hide what the later steps would say.
fn verify(steps: &[Step], arguments: &Arguments) -> anyhow::Result<Summary> {
    let root = workspace_root();
    env::set_current_dir(&root)?;
    let tools = ToolBox::open(&root)?;
    let mut summary = Summary::new(arguments.may_be_unavailable.clone());
    for step in steps {
        if !arguments.selects(step.name) {
            summary.not_selected(step.name);
            continue;
        }
        let started = Instant::now();
        println!("── {} ── {}", step.name, step.about);
        let outcome = run(step, &tools);
        let report = Report { step: step.name, duration: started.elapsed(), outcome };
        println!("{report}\n");
        summary.add(report);
    }
    Ok(summary)
}

fn run(step: &Step, tools: &ToolBox) -> Outcome {
    for tool in step.tools {
        if let Err(error) = tools.ensure(*tool) {
            return Outcome::Unavailable(format!("{error:#}"));
        }
    }
    let log = tools.log_path(step.name);
    step.run(tools, &Progress::new(step.name, &log))
}

/// The folder of the workspace: two above this crate's, which cargo tells a program it runs.
fn workspace_root() -> PathBuf {
    let crate_root =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = crate_root.ancestors().nth(2).unwrap_or_else(|| Path::new("."));
    root.to_path_buf()
}
