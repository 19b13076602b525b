//! What the operators' commands have in common: one convention for reading and changing, tables or JSON, and asking every service.

use anyhow::{Result, bail};
use mesh::store::Micros;
use proto::contract::Role;
use serde_json::Value;

use crate::api::{Authorized, Target, TargetArgs};
use crate::service::Service;
use crate::terminal::{Table, say};
use crate::token::{self, Persona};

/// The exit code of [`Withheld`].
pub(crate) const WITHHELD: u8 = 3;

/// Who asks whom, and how the answer is shown.
#[derive(clap::Args, Clone, Debug)]
pub struct OperatorArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
    /// Who the services are told is asking; it is kept with what they change
    #[arg(long, value_name = "NAME", default_value = Persona::Operator.subject(), value_parser = token::subject)]
    pub operator: String,
    /// The mesh to ask.
    #[command(flatten)]
    pub target: TargetArgs,
}

impl OperatorArgs {
    /// Finds the mesh.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn open(&self) -> Result<Desk<'_>> {
        Ok(Desk { args: self, target: self.target.open()? })
    }

    /// Prints an answer, for a machine or for a person.
    pub(crate) fn print(&self, json: impl FnOnce() -> Value, people: impl FnOnce()) {
        if self.json {
            say(format_args!("{:#}", json()));
        } else {
            people();
        }
    }
}

/// An operator in front of a mesh.
pub(crate) struct Desk<'a> {
    args: &'a OperatorArgs,
    target: Target,
}

impl Desk<'_> {
    pub(crate) fn connect(&self, service: Service) -> Result<Authorized> {
        self.target.authorized(service, &self.args.operator, Role::Operator)
    }

    /// Asks every service of the mesh, whatever becomes of the others.
    pub(crate) async fn ask_all<T>(&self, ask: impl AsyncFn(Service, Authorized) -> Result<T>) -> Answers<T> {
        let mut answers = Answers { given: Vec::new(), missing: Vec::new() };
        for service in Service::ALL {
            let answer = match self.connect(service) {
                Ok(channel) => ask(service, channel).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => answers.given.push((service, answer)),
                Err(error) => answers.missing.push((service, error)),
            }
        }
        answers
    }
}

/// What the services answered.
pub(crate) struct Answers<T> {
    pub(crate) given: Vec<(Service, T)>,
    missing: Vec<(Service, anyhow::Error)>,
}

impl<T> Answers<T> {
    /// An error that names those that did not.
    pub(crate) fn complete(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let told =
            |(service, error): &(Service, anyhow::Error)| format!("{service}: {}", crate::failure::describe(error));
        bail!("not every service answers\n  {}", self.missing.iter().map(told).collect::<Vec<_>>().join("\n  "))
    }
}

/// A command that would have changed something was not told to.
#[derive(Debug, thiserror::Error)]
#[error("nothing was changed; {0} does it")]
pub(crate) struct Withheld(pub(crate) &'static str);

/// Whether a command may change what it shows.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Consent {
    /// Do it; without this the command only says what it would do
    #[arg(long)]
    pub yes: bool,
}

impl Consent {
    /// Without consent, an error for which the exit code is 3.
    pub(crate) fn given(self) -> Result<()> {
        if self.yes { Ok(()) } else { Err(Withheld("--yes").into()) }
    }
}

/// Prints a table, or a sentence instead of an empty one.
pub(crate) fn print_rows(table: &Table, empty: &str) {
    if table.is_empty() { say(empty) } else { table.print() }
}

/// RFC 3339, or a dash.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| Micros::from(*time).to_string())
}

/// RFC 3339 or null.
pub(crate) fn json_instant(time: Option<&prost_types::Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Micros::from(*time).to_string().into())
}
