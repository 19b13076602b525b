//! `holdfast outbox`: how far each service's events are published.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mesh::store::Micros;
use proto::mesh::v1::outbox_service_client::OutboxServiceClient;
use proto::mesh::v1::{GetOutboxRequest, Outbox};
use serde_json::{Value, json};

use crate::duration::readable;
use crate::operator::{OperatorArgs, instant, json_instant};
use crate::terminal::Table;

/// Shows how far each service's events are published. Only reads.
///
/// Exit codes: 0 every service answered, 1 one did not, 2 wrong command line.
#[derive(clap::Args, Clone, Debug)]
pub struct OutboxArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// For each service: events that wait, since when, published ones that are kept, the last number of its stream, its broker
    Status(OperatorArgs),
}

/// Runs the command.
///
/// # Errors
/// A service does not answer.
pub async fn run(OutboxArgs { action: Action::Status(args) }: &OutboxArgs) -> Result<()> {
    let desk = args.open()?;
    let ask = async |_, channel| {
        let answer = OutboxServiceClient::new(channel).get_outbox(GetOutboxRequest {}).await?;
        answer.into_inner().outbox.context("the answer holds no outbox")
    };
    let answers = desk.ask_all(ask).await;
    let outboxes: Vec<&Outbox> = answers.given.iter().map(|(_, outbox)| outbox).collect();
    args.print(|| outboxes.iter().map(|outbox| json(outbox)).collect(), || table(&outboxes, Micros::now()).print());
    answers.complete()
}

fn table(outboxes: &[&Outbox], now: Micros) -> Table {
    let headings = ["service", "waiting", "oldest", "since", "kept", "stream sequence", "broker"];
    let mut table = Table::new(headings).right(&[1, 2, 4, 5]);
    for outbox in outboxes {
        let age = |since: &prost_types::Timestamp| now.since(Micros::from(*since));
        let oldest = outbox.oldest_waiting_time.as_ref().map_or(Duration::ZERO, age);
        table.row([
            outbox.service.clone(),
            outbox.waiting_count.to_string(),
            if outbox.waiting_count > 0 { readable(oldest) } else { "-".to_owned() },
            instant(outbox.oldest_waiting_time.as_ref()),
            outbox.kept_count.to_string(),
            outbox.stream_sequence.to_string(),
            if outbox.broker_connected { "connected" } else { "away" }.to_owned(),
        ]);
    }
    table
}

fn json(outbox: &Outbox) -> Value {
    json!({
        "service": outbox.service,
        "waiting_count": outbox.waiting_count,
        "oldest_waiting_time": json_instant(outbox.oldest_waiting_time.as_ref()),
        "kept_count": outbox.kept_count,
        "stream_sequence": outbox.stream_sequence,
        "broker_connected": outbox.broker_connected,
    })
}
