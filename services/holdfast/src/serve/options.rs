//! Options of several services in one command.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// The options of one service.
///
/// Deriving `Args` also defines a group named after the type, and every service's type is called `Config`; a command refuses two groups of
/// one name. The groups are of no use here, so only the options themselves are taken over.
#[derive(Clone, Debug)]
pub struct Options<T>(pub T);

impl<T: Args> Args for Options<T> {
    fn augment_args(command: Command) -> Command {
        let heading = command.get_next_help_heading().map(str::to_owned);
        let own = T::augment_args(Command::new("options"));
        let arguments = own.get_arguments().map(|argument| match &heading {
            Some(heading) => argument.clone().help_heading(heading.clone()),
            None => argument.clone(),
        });
        command.args(arguments.collect::<Vec<_>>())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Args> FromArgMatches for Options<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
