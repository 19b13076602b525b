//! The gate proves itself: against buf, against a catalogue of edits of our own contracts, against bad baselines, and in
//! repositories of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod baseline;
mod buf;
mod clients;
mod command;
mod consumers;
mod documents;
mod edits;
mod events;
mod guard;
mod meaning;
mod release;
mod repository;
mod structure;
mod vectors;
mod waivers;
