//! `holdfast token`: a token to call with.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use mesh::identity::Issuer;
use proto::contract::Role;

use crate::duration;
use crate::home::HomeArgs;
use crate::terminal::say;

/// Prints a token signed by the local issuer of the mesh that `holdfast up` runs.
///
/// Only the token is printed, so that it can be used in place:
///
///   grpcurl -H "authorization: Bearer $(holdfast token customer)" …
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct TokenArgs {
    /// What the caller is to be.
    #[arg(value_enum)]
    pub persona: Persona,
    /// Who the caller is to be; resources of this user are named users/NAME [default: alice the customer, hana the host, olga the operator]
    #[arg(long, value_name = "NAME", value_parser = subject)]
    pub subject: Option<String>,
    /// How long it is valid, e.g. 30s, 15m, 2h, 1d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = duration::parse)]
    pub ttl: Duration,
    /// Folder with the issuer's key [default: that of the running `up`]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_KEYS_DIR")]
    pub keys: Option<std::path::PathBuf>,
    /// The data folder.
    #[command(flatten)]
    pub home: HomeArgs,
}

/// A role and somebody who plays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Persona {
    /// books for themselves
    Customer,
    /// offers listings and sees the reservations on them
    Host,
    /// runs the platform: reads everything
    Operator,
}

impl Persona {
    pub(crate) const fn role(self) -> Role {
        match self {
            Self::Customer => Role::Customer,
            Self::Host => Role::Host,
            Self::Operator => Role::Operator,
        }
    }

    /// Who it is when nobody else is named.
    pub(crate) const fn subject(self) -> &'static str {
        match self {
            Self::Customer => "alice",
            Self::Host => "hana",
            Self::Operator => "olga",
        }
    }
}

/// As the contracts want the id of a user: `^[A-Za-z0-9][A-Za-z0-9._@|-]{0,127}$`.
pub(crate) fn subject(text: &str) -> Result<String, String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._@|-".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && text.len() <= 128 && text.bytes().all(inside) {
        Ok(text.to_owned())
    } else {
        Err("a subject has 1 to 128 letters, digits and ._@|-, and starts with a letter or digit".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// There is no key to sign with.
pub fn run(args: &TokenArgs) -> Result<()> {
    let keys = match &args.keys {
        Some(keys) => keys.clone(),
        None => args.home.open()?.running()?.keys,
    };
    let issuer = Issuer::open(&keys).context("there is no key to sign with")?;
    let subject = args.subject.as_deref().unwrap_or_else(|| args.persona.subject());
    say(issuer.token(subject, &[args.persona.role()], args.ttl));
    Ok(())
}
