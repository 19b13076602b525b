//! `holdfast trace`: what happened to one reservation, across all services.

use anyhow::{Result, anyhow};
use proto::contract::Role;
use proto::view::v1::TimelineEntry;
use uuid::Uuid;

use crate::actor::Actor;
use crate::api::TargetArgs;
use crate::terminal::{Style, Table, paint, say};

/// Prints the timeline of one reservation across all services.
///
/// Each line is an event, in order of time: when, how long after the one before, which service told of it, what happened to which resource.
#[derive(clap::Args, Clone, Debug)]
pub struct TraceArgs {
    /// reservations/… or only its id
    #[arg(value_parser = reservation_id)]
    pub reservation: Uuid,
    /// The mesh to ask.
    #[command(flatten)]
    pub target: TargetArgs,
}

fn reservation_id(text: &str) -> Result<Uuid, String> {
    let id = ["reservations/", "trips/"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    Uuid::try_parse(id).map_err(|_| "expected a name such as reservations/0190c0de-…".to_owned())
}

/// Runs the command.
///
/// # Errors
/// The view cannot be asked or knows no such reservation.
pub async fn run(args: &TraceArgs) -> Result<()> {
    let target = args.target.open()?;
    let reservation = format!("reservations/{}", args.reservation);
    print(&reservation, &Actor::new(&target, "the operator", "trace", Role::Operator)?.timeline(&reservation).await?)
}

/// Prints what happened to a reservation.
///
/// # Errors
/// Nothing did, as far as the view knows.
pub(crate) fn print(reservation: &str, entries: &[TimelineEntry]) -> Result<()> {
    let first = entries.first().ok_or_else(|| anyhow!("the view has no events of this reservation yet"))?;
    say(format_args!("{} {}", paint(Style::Strong, reservation), span(entries)));
    if !first.trace_id.is_empty() {
        say(format_args!("trace {}", first.trace_id));
    }
    say("");
    table(entries).print();
    Ok(())
}

fn span(entries: &[TimelineEntry]) -> String {
    let times: Vec<i64> = entries.iter().map(micros).collect();
    let whole = times.iter().max().unwrap_or(&0) - times.iter().min().unwrap_or(&0);
    format!("{} events in {}.{:03} ms", entries.len(), whole / 1000, whole % 1000)
}

fn table(entries: &[TimelineEntry]) -> Table {
    let mut table = Table::new(["time", "+ms", "service", "event", "resource", "version", "summary"]).right(&[1, 5]);
    let mut before = entries.first().map(micros).unwrap_or_default();
    for entry in entries {
        let at = micros(entry);
        let elapsed = at - before;
        before = at;
        table.row([
            clock(at),
            format!("{}.{:03}", elapsed / 1000, (elapsed % 1000).abs()),
            entry.service.clone(),
            entry.r#type.rsplit('.').next().unwrap_or_default().to_owned(),
            short(&entry.resource),
            entry.version.to_string(),
            entry.summary.clone(),
        ]);
    }
    table
}

fn micros(entry: &TimelineEntry) -> i64 {
    entry.event_time.as_ref().map_or(0, |time| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000)
}

/// The time of day in UTC.
fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let of_day = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}.{fraction:06}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `collection/` and the end of the id, which is its random part.
pub(crate) fn short(resource: &str) -> String {
    match resource.rsplit_once('/') {
        Some((collection, id)) if id.len() == 36 => format!("{collection}/…{}", &id[id.len() - 12..]),
        _ => resource.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(micros: i64, kind: &str, resource: &str) -> TimelineEntry {
        let nanos = i32::try_from(micros % 1_000_000 * 1_000).expect("less than a second");
        TimelineEntry {
            event_time: Some(prost_types::Timestamp { seconds: micros / 1_000_000, nanos }),
            service: "payment".to_owned(),
            r#type: format!("holdfast.payment.v1.{kind}"),
            resource: resource.to_owned(),
            version: 2,
            summary: "paid".to_owned(),
            ..TimelineEntry::default()
        }
    }

    #[test]
    fn each_line_says_when_and_how_long_after_the_one_before() {
        let base = 1_798_128_000_000_000;
        let entries = [
            entry(base, "PaymentApproved", "payments/01890000-0000-7000-8000-0123456789ab"),
            entry(base + 12_345, "PaymentCancelled", "users/alice/mileageAccount"),
        ];
        let lines = table(&entries).lines();
        assert_eq!(
            lines[1],
            "16:00:00.000000Z   0.000  payment  PaymentApproved   payments/…0123456789ab            2  paid"
        );
        assert_eq!(
            lines[2],
            "16:00:00.012345Z  12.345  payment  PaymentCancelled  users/alice/mileageAccount        2  paid"
        );
        assert_eq!(span(&entries), "2 events in 12.345 ms");
    }

    #[test]
    fn a_reservation_is_a_name_or_an_id() {
        let id = "01890000-0000-7000-8000-0123456789ab";
        for text in [id.to_owned(), format!("reservations/{id}"), format!("trips/{id}")] {
            assert_eq!(reservation_id(&text).map(|id| id.to_string()), Ok(id.to_owned()));
        }
        assert!(reservation_id("reservations/1").is_err());
        assert!(reservation_id(&format!("payments/{id}")).is_err());
    }
}
