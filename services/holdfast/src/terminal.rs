//! What a person reads: steps with ticks, tables with straight columns. Colours only on a terminal, never when `NO_COLOR` is set.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Good,
    Bad,
    Strong,
    Faint,
}

/// The text, in colour if standard output shows colours.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    if !colours() {
        return text.to_string();
    }
    let code = match style {
        Style::Good => "32",
        Style::Bad => "31",
        Style::Strong => "1",
        Style::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
}

/// A line. A closed pipe is no reason to panic half way through a shutdown.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Something is done.
pub(crate) fn done(text: impl Display) {
    say(format_args!("  {} {text}", paint(Style::Good, "✓")));
}

/// Something went wrong.
pub(crate) fn failed(text: impl Display) {
    say(format_args!("  {} {text}", paint(Style::Bad, "✗")));
}

/// Something goes on.
pub(crate) fn note(text: impl Display) {
    say(format_args!("  {} {text}", paint(Style::Faint, "·")));
}

/// Rows of equally many cells, printed in columns as wide as their widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()], right: Vec::new() }
    }

    /// Sets columns flush right: numbers.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Whether it has headings only.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The lines, each without trailing blanks.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if self.right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints it, the headings faint.
    pub(crate) fn print(&self) {
        for (index, line) in self.lines().into_iter().enumerate() {
            say(if index == 0 { paint(Style::Faint, line) } else { line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["name", "count", "note"]).right(&[1]);
        table.row(["a".to_owned(), "12345".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "7".to_owned(), "é".to_owned()]);
        assert_eq!(table.lines(), ["name    count  note", "a       12345", "longer      7  é"]);
    }
}
