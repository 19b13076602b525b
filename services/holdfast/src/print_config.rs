//! `--print-config`: which values hold, and where they come from.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::terminal::Table;

/// A table of all options of `command` as they were parsed. Options whose environment value is hidden hold secrets and are masked, and so is
/// what stands before the host in a URL.
pub(crate) fn table(command: &Command, matches: &ArgMatches) -> Table {
    let mut table = Table::new(["option", "value", "from", "environment"]);
    for arg in command.get_arguments().filter(|arg| shown(arg)) {
        let id = arg.get_id().as_str();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            Some(ValueSource::DefaultValue) => "default",
            Some(_) | None => "",
        };
        table.row([
            arg.get_long().map_or_else(|| id.to_owned(), |long| format!("--{long}")),
            value(arg, matches),
            source.to_owned(),
            arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        ]);
    }
    table
}

fn shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version", "print_config"].contains(&arg.get_id().as_str())
}

fn value(arg: &Arg, matches: &ArgMatches) -> String {
    let id = arg.get_id().as_str();
    if !arg.get_action().takes_values() {
        return matches.get_flag(id).to_string();
    }
    match matches.get_raw(id) {
        None => "-".to_owned(),
        Some(_) if arg.is_hide_env_values_set() => "********".to_owned(),
        Some(values) => values.map(|value| without_credentials(&value.to_string_lossy())).collect::<Vec<_>>().join(" "),
    }
}

/// `scheme://user:password@host` without what stands before the host.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://********{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_masked() {
        assert_eq!(without_credentials("nats://user:pass@broker:4222"), "nats://********@broker:4222");
        assert_eq!(without_credentials("postgres://u:p@ss@db/x?y=z@w"), "postgres://********@db/x?y=z@w");
        assert_eq!(without_credentials("http://127.0.0.1:7401/a@b"), "http://127.0.0.1:7401/a@b");
        assert_eq!(without_credentials(".holdfast/keys"), ".holdfast/keys");
    }

    #[test]
    fn each_option_shows_its_value_and_source_and_secrets_do_not() {
        let command = Command::new("serve")
            .arg(Arg::new("port").long("port").default_value("7401").env("PRINT_CONFIG_TEST_PORT"))
            .arg(Arg::new("key").long("key").env("PRINT_CONFIG_TEST_KEY").hide_env_values(true))
            .arg(Arg::new("file").long("file"));
        let matches = command.clone().try_get_matches_from(["serve", "--key", "sesame"]).expect("valid options");
        let lines = table(&command, &matches).lines();
        assert_eq!(lines[1], "--port  7401      default       PRINT_CONFIG_TEST_PORT");
        assert_eq!(lines[2], "--key   ********  command line  PRINT_CONFIG_TEST_KEY");
        assert_eq!(lines[3], "--file  -");
    }
}
