//! The commands as a program is called, and the histogram against exact percentiles.

mod command_line;
mod histogram;
