//! What the load generator prints.

use std::time::{Duration, Instant};

use super::drive::Shape;
use super::histogram::Histogram;
use super::tally::Tally;
use crate::duration::readable;
use crate::terminal::{Style, Table, paint, say};

/// CPU time used during the measured time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) services: Duration,
    pub(super) broker: Duration,
}

/// Everything measured.
pub(super) struct Report {
    /// The calls of one booking.
    pub(super) calls: &'static str,
    pub(super) shape: Shape,
    pub(super) measured: Duration,
    pub(super) tally: Tally,
    pub(super) cpu: Option<Cpu>,
    /// When the last booking was answered.
    pub(super) ended: Instant,
}

impl Report {
    /// Confirmed reservations of the measured time.
    pub(super) fn booked(&self) -> u64 {
        self.tally.latency.count()
    }

    pub(super) fn print(&self) {
        say("");
        for (name, value) in self.lines() {
            say(format_args!("  {name:<12} {value}"));
        }
        if !self.tally.refusals.is_empty() {
            say("");
            let mut table = Table::new(["count", "refused with"]).right(&[0]);
            for (reason, count) in &self.tally.refusals {
                table.row([count.to_string(), reason.clone()]);
            }
            table.print();
        }
        say("");
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let refused: u64 = self.tally.refusals.values().sum();
        let rate = paint(Style::Strong, format_args!("{}/s", self.per_second(self.booked())));
        let mut lines = vec![("bookings", format!("{rate}, each {}", self.calls))];
        if let Shape::Open { rate } = self.shape {
            lines.push(("offered", format!("{rate}/s")));
        }
        lines.push(("latency", percentiles(&self.tally.latency)));
        lines.push(("confirmed", self.booked().to_string()));
        lines.push((
            "refused",
            if refused == 0 {
                "0".to_owned()
            } else {
                format!("{refused}, in {}", percentiles(&self.tally.refusal_latency))
            },
        ));
        if self.tally.not_started > 0 {
            lines.push(("not started", format!("{} (too many calls open)", self.tally.not_started)));
        }
        if let (Some(cpu), true) = (self.cpu, self.booked() > 0) {
            lines.push((
                "CPU",
                format!(
                    "{} per booking in the services, {} in the broker",
                    self.each(cpu.services),
                    self.each(cpu.broker)
                ),
            ));
        }
        lines
    }

    fn per_second(&self, count: u64) -> u64 {
        count * 1_000 / u64::try_from(self.measured.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn each(&self, time: Duration) -> String {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        format!("{} µs", micros / self.booked().max(1))
    }
}

fn percentiles(times: &Histogram) -> String {
    let at = |quantile| readable(Duration::from_micros(times.quantile(quantile)));
    format!(
        "p50 {}   p95 {}   p99 {}   max {}",
        at(0.50),
        at(0.95),
        at(0.99),
        readable(Duration::from_micros(times.max()))
    )
}
