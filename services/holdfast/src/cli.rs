//! The command line.

use clap::{Parser, Subcommand};

use crate::audit::AuditArgs;
use crate::breaker::BreakerArgs;
use crate::demo::DemoArgs;
use crate::dlq::DlqArgs;
use crate::inject::InjectArgs;
use crate::load::LoadArgs;
use crate::outbox::OutboxArgs;
use crate::saga::SagaArgs;
use crate::serve::ServeArgs;
use crate::smoke::SmokeArgs;
use crate::token::TokenArgs;
use crate::trace::TraceArgs;
use crate::up::UpArgs;
use crate::view::ViewArgs;

/// Holdfast: hold the place, take the payment, earn the miles, and never lose one.
///
/// A booking mesh of seven gRPC services in one binary. `holdfast up` runs all of it on this computer; `holdfast serve` runs one or more
/// services in a deployment; the other commands use, check and measure a mesh that runs.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true, max_term_width = 110, verbatim_doc_comment)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a text here would replace the one of the arguments in the help")]
pub enum Command {
    Up(UpArgs),
    Serve(Box<ServeArgs>),
    Token(TokenArgs),
    Smoke(SmokeArgs),
    Demo(DemoArgs),
    Load(LoadArgs),
    Audit(AuditArgs),
    Trace(TraceArgs),
    Outbox(OutboxArgs),
    Dlq(DlqArgs),
    Saga(SagaArgs),
    View(ViewArgs),
    Breaker(BreakerArgs),
    Inject(InjectArgs),
}
