//! The gate proves itself: against buf, against a catalogue of edits of our own contracts, and against bad baselines.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod baseline;
mod buf;
mod command;
mod edits;
mod meaning;
mod structure;
