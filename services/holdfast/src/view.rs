//! `holdfast view`: whether the views are the fold of the streams, and making them so.

use std::time::Duration;

use anyhow::{Context as _, Result};
use proto::view::v1::difference::Kind;
use proto::view::v1::rebuild_views_response::Phase;
use proto::view::v1::view_admin_service_client::ViewAdminServiceClient;
use proto::view::v1::{RebuildViewsRequest, RebuildViewsResponse, TableComparison};
use serde_json::{Value, json};
use tonic::Request;

use crate::operator::{OperatorArgs, Withheld};
use crate::service::Service;
use crate::terminal::{Style, Table, done, note, paint, say};

/// As long as the contract allows.
const LIMIT: Duration = Duration::from_secs(3600);

/// Compares the views with the streams they are folded from, and replaces what differs.
///
/// `rebuild` folds all streams into tables of their own and compares these with the served ones; it changes nothing without --swap. Meanwhile the
/// views are served and go on following the streams. Cut off half way it has changed nothing.
///
/// Exit codes: 0 nothing differs, or it is replaced; 1 the rebuild was refused or could not be made; 2 wrong command line; 3 rows differ and
/// nothing was changed, as --swap is missing.
#[derive(clap::Args, Clone, Debug)]
pub struct ViewArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// Fold all streams again and compare; with --swap, replace what differs
    Rebuild(RebuildArgs),
}

/// Arguments of `rebuild`.
#[derive(clap::Args, Clone, Debug)]
pub struct RebuildArgs {
    /// Replace the rows that differ, in one transaction
    #[arg(long, visible_alias = "yes")]
    pub swap: bool,
    /// With --swap: also if events that the views have seen are in no stream any more
    #[arg(long, requires = "swap")]
    pub allow_loss: bool,
    /// Keys of differing rows to print, of each table
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub samples: u8,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Runs the command.
///
/// # Errors
/// The view does not answer or refuses, or rows differ and may not be replaced.
pub async fn run(ViewArgs { action: Action::Rebuild(args) }: &ViewArgs) -> Result<()> {
    let mut client = ViewAdminServiceClient::new(args.operator.open()?.connect(Service::View)?);
    let RebuildArgs { swap, allow_loss, .. } = *args;
    let mut request = Request::new(RebuildViewsRequest { swap, allow_loss, sample_size: args.samples.into() });
    request.set_timeout(LIMIT);
    let mut told = client.rebuild_views(request).await?.into_inner();
    let (mut compared, mut swapped) = (None, false);
    while let Some(progress) = told.message().await? {
        match progress.phase() {
            Phase::Replaying if !args.operator.json => print_stream(&progress),
            Phase::Compared => {
                if !args.operator.json {
                    print_tables(&progress);
                }
                compared = Some(progress);
            }
            Phase::Swapped => swapped = true,
            Phase::Replaying | Phase::Unspecified => {}
        }
    }
    let compared = compared.context("the rebuild ended before anything was compared")?;
    let differing: i64 = compared.tables.iter().map(differences).sum();
    args.operator.print(|| json(&compared, swapped), || print_outcome(differing, swapped));
    if differing > 0 && !swapped { Err(Withheld("--swap").into()) } else { Ok(()) }
}

fn differences(table: &TableComparison) -> i64 {
    table.extra_count + table.missing_count + table.different_count
}

fn print_stream(progress: &RebuildViewsResponse) {
    if progress.replayed_count == progress.event_count {
        note(format_args!("{}: {} events", progress.stream, progress.event_count));
    }
}

fn print_tables(compared: &RebuildViewsResponse) {
    if compared.skipped_count > 0 {
        note(format_args!("{} messages say nothing a row could be made of", compared.skipped_count));
    }
    let headings = ["table", "served", "rebuilt", "extra", "missing", "different"];
    let mut table = Table::new(headings).right(&[1, 2, 3, 4, 5]);
    for compared in &compared.tables {
        let counts = [
            compared.served_count,
            compared.rebuilt_count,
            compared.extra_count,
            compared.missing_count,
            compared.different_count,
        ];
        let [served, rebuilt, extra, missing, different] = counts.map(|count| count.to_string());
        table.row([compared.table.clone(), served, rebuilt, extra, missing, different]);
    }
    say("");
    table.print();
    for compared in &compared.tables {
        for sample in &compared.samples {
            say(format_args!("  {} {} {}", compared.table, sample.key, word(sample.kind())));
        }
    }
    say("");
}

fn print_outcome(differing: i64, swapped: bool) {
    match (differing, swapped) {
        (0, _) => say(paint(Style::Good, "the views are the fold of the streams")),
        (rows, true) => done(format_args!("{rows} rows replaced")),
        (rows, false) => say(paint(Style::Bad, format_args!("{rows} rows differ"))),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Extra => "should not be there",
        Kind::Missing => "is not there",
        Kind::Different | Kind::Unspecified => "has other values",
    }
}

fn json(compared: &RebuildViewsResponse, swapped: bool) -> Value {
    let table = |table: &TableComparison| {
        let samples = table.samples.iter();
        json!({
            "table": table.table,
            "served_count": table.served_count,
            "rebuilt_count": table.rebuilt_count,
            "extra_count": table.extra_count,
            "missing_count": table.missing_count,
            "different_count": table.different_count,
            "samples": samples.map(|sample| json!({ "key": sample.key, "kind": sample.kind().as_str_name() })).collect::<Value>(),
        })
    };
    json!({
        "swapped": swapped,
        "skipped_count": compared.skipped_count,
        "tables": compared.tables.iter().map(table).collect::<Value>(),
    })
}
