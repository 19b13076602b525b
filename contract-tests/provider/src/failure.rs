//! What a developer sees when a check fails.

use std::fmt;

use prost_reflect::DynamicMessage;
use tonic::Status;

use crate::call::Answer;
use crate::declared;

/// Longer requests are cut where they are only shown.
const SHOWN: usize = 600;

/// A contract that was not kept, and how to see it again.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// What was sent.
    pub sent: String,
    /// What the contract says.
    pub contract: String,
    /// What the server did.
    pub server: String,
    /// A command that does it again.
    pub repeat: String,
}

impl Failure {
    /// One that is not about a call.
    #[must_use]
    pub fn of(contract: impl Into<String>, found: impl Into<String>) -> Self {
        Self { contract: contract.into(), server: found.into(), ..Self::default() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines =
            [("sent", &self.sent), ("contract", &self.contract), ("server", &self.server), ("repeat", &self.repeat)];
        for (name, text) in lines.into_iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "  {name:<9} {text}")?;
        }
        Ok(())
    }
}

/// A message as JSON.
pub(crate) fn json(message: &DynamicMessage) -> String {
    serde_json::to_string(message).unwrap_or_else(|error| format!("(no JSON: {error})"))
}

/// As much of a text as a line takes.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((at, _)) => format!("{} … ({} bytes)", &text[..at], text.len()),
    }
}

/// A refusal in a line.
pub(crate) fn status(status: &Status) -> String {
    let fields = declared::fields(status);
    let fields = fields.iter().map(|(field, reason)| format!(" {field}={reason}")).collect::<String>();
    let (name, reason) = (declared::name(status.code()), declared::reason(status));
    cut(&format!("{name} {reason}{fields} ({})", status.message()))
}

/// An answer in a line.
pub(crate) fn answer(answer: &Answer) -> String {
    match &answer.end {
        Ok(()) => format!("OK, {} message(s)", answer.messages.len()),
        Err(error) => status(error),
    }
}
