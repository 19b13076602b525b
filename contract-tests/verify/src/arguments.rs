//! The command line: which steps to run, and which may be unavailable.

use std::fmt::Write as _;

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Run the selected steps.
    Run(Arguments),
    /// Print the names of the steps and what each checks.
    List,
    /// Print the usage.
    Help,
}

/// Which steps to run. An empty `only` means all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    only: Vec<String>,
    /// Steps whose unavailability is reported without failing the run. Their findings still fail it.
    pub(crate) may_be_unavailable: Vec<String>,
}

impl Arguments {
    /// Whether the step is to run.
    pub(crate) fn selects(&self, step: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == step)
    }
}

/// Reads the command line, program name excluded.
///
/// # Errors
///
/// One sentence for the user: an unknown flag, a flag without its value, or a step that does not exist. A misspelt step
/// must never select nothing.
pub(crate) fn parse(words: impl IntoIterator<Item = String>, steps: &[&str]) -> Result<Request, String> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (flag, attached) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let list = match flag {
            "--only" => &mut arguments.only,
            "--allow-unavailable" => &mut arguments.may_be_unavailable,
            "--list" => return Ok(Request::List),
            "-h" | "--help" => return Ok(Request::Help),
            _ => return Err(format!("unknown argument {word:?}")),
        };
        let value = attached.or_else(|| words.next()).ok_or_else(|| format!("{flag} needs the name of a step"))?;
        for name in value.split(',') {
            if !steps.contains(&name) {
                return Err(format!("there is no step {name:?}; the steps are {}", steps.join(", ")));
            }
            list.push(name.to_owned());
        }
    }
    Ok(Request::Run(arguments))
}

/// The text behind `--help`.
pub(crate) fn usage(steps: &[&str]) -> String {
    let mut text = String::from("Runs every check and prints what came of each; exit code 1 unless all passed.\n\n");
    text.push_str("Usage: cargo verify [--only <step>[,…]] [--allow-unavailable <step>[,…]] [--list]\n\n");
    text.push_str("  --only <step>[,…]               run these steps\n");
    text.push_str("  --allow-unavailable <step>[,…]  report it, but do not fail, when these cannot be run here\n");
    text.push_str("  --list                          what each step checks\n\n");
    let _ = writeln!(text, "Steps: {}", steps.join(", "));
    text.push_str("Tools are kept in .holdfast/tools, or in the folder named by HOLDFAST_TOOLS_DIR.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [&str; 3] = ["format", "clippy", "test"];

    fn parsed(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(str::to_owned), &STEPS)
    }

    fn selected(line: &str) -> Vec<&'static str> {
        match parsed(line).unwrap() {
            Request::Run(arguments) => STEPS.into_iter().filter(|step| arguments.selects(step)).collect(),
            other => panic!("{line:?} was read as {other:?}"),
        }
    }

    #[test]
    fn everything_is_selected_unless_told_otherwise() {
        assert_eq!(selected(""), STEPS);
        assert_eq!(selected("--allow-unavailable test"), STEPS);
    }

    #[test]
    fn only_the_named_steps_are_selected() {
        assert_eq!(selected("--only clippy"), ["clippy"]);
        assert_eq!(selected("--only=test,format"), ["format", "test"]);
        assert_eq!(selected("--only test --only format"), ["format", "test"]);
    }

    #[test]
    fn a_misspelt_step_is_refused_and_the_steps_are_named() {
        for line in ["--only tests", "--only format,", "--only=", "--allow-unavailable tets"] {
            let complaint = parsed(line).unwrap_err();
            assert!(complaint.contains("format, clippy, test"), "{complaint}");
        }
    }

    #[test]
    fn a_flag_that_means_nothing_is_refused() {
        for line in ["--fast", "format", "--only"] {
            parsed(line).unwrap_err();
        }
    }

    #[test]
    fn help_and_list_are_told_apart() {
        assert_eq!(parsed("--list"), Ok(Request::List));
        assert_eq!(parsed("--only test --help"), Ok(Request::Help));
    }
}
