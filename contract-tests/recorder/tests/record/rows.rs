//! What a handler leaves in its service's database.

use std::collections::{BTreeMap, BTreeSet};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
use mesh::store::Conn;

const SEPARATOR: char = '\u{1f}';

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// How to read every table.
pub(crate) struct Tables(Vec<(String, String)>);

/// By table, its rows.
pub(crate) type Rows = BTreeMap<String, Vec<Vec<String>>>;

/// Columns that differ from one run to the next, whatever was handled: new ids, the time.
pub(crate) type Volatile = BTreeSet<(String, usize)>;

impl Tables {
    pub(crate) fn of(conn: &mut Conn) -> Self {
        const NAMES: &str = "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                             AND name NOT LIKE '\\_\\_%' ESCAPE '\\' ORDER BY name";
        let names = lines(conn, NAMES);
        let query = |name: String| {
            let columns = lines(conn, &format!("SELECT name AS line FROM pragma_table_info('{name}') ORDER BY cid"));
            let quoted: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
            let query = format!("SELECT {} AS line FROM \"{name}\"", quoted.join(&format!("||'{SEPARATOR}'||")));
            (name, query)
        };
        Self(names.into_iter().map(query).collect())
    }

    pub(crate) fn rows(&self, conn: &mut Conn) -> Rows {
        let read = |(name, query): &(String, String)| {
            let rows = lines(conn, query).into_iter().map(|line| line.split(SEPARATOR).map(str::to_owned).collect());
            (name.clone(), rows.collect())
        };
        self.0.iter().map(read).collect()
    }
}

fn lines(conn: &mut Conn, query: &str) -> Vec<String> {
    let Conn::Sqlite(conn) = conn else { unreachable!("a file is what was copied") };
    let lines: Vec<Line> = sql_query(query).load(conn).unwrap_or_else(|error| panic!("{query}: {error}"));
    lines.into_iter().map(|line| line.line).collect()
}

pub(crate) fn execute(conn: &mut Conn, statement: &str) {
    let Conn::Sqlite(conn) = conn else { unreachable!("a file is what was copied") };
    conn.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The columns in which two runs of the same differ.
pub(crate) fn volatile(one: &Rows, other: &Rows) -> Volatile {
    let mut found = Volatile::new();
    for (table, rows) in one {
        let width = rows.first().map_or(0, Vec::len);
        for column in 0..width {
            if sorted(rows, column) != sorted(&other[table], column) {
                found.insert((table.clone(), column));
            }
        }
    }
    found
}

fn sorted(rows: &[Vec<String>], column: usize) -> Vec<&String> {
    let mut values: Vec<&String> = rows.iter().map(|row| &row[column]).collect();
    values.sort();
    values
}

/// The rows without their volatile columns, sorted.
pub(crate) fn steady(rows: Rows, volatile: &Volatile) -> Rows {
    let steady = |(table, mut rows): (String, Vec<Vec<String>>)| {
        for row in &mut rows {
            let cells = row.iter_mut().enumerate();
            cells.filter(|(column, _)| volatile.contains(&(table.clone(), *column))).for_each(|(_, cell)| cell.clear());
        }
        rows.sort();
        (table, rows)
    };
    rows.into_iter().map(steady).collect()
}
