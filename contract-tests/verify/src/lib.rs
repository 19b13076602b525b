//! The pinned tools that the checks need, and how a program's output is shown while it runs.

pub mod progress;
pub mod tools;
