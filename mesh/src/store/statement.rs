//! Statements written out: SQL text with a `?` for each bound value.
//!
//! Diesel prepares every UPDATE and every upsert anew each time it runs, because their text may vary where their type does not. For a statement
//! of the hot path that costs more than the work itself. The text of these is fixed, so each connection prepares it once.
//!
//! The price: only the database checks the text, so tests must run it on both. Whatever is not hot stays diesel. Values are always bound, never
//! written into the text.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, Bool, HasSqlType, Integer, Nullable, SmallInt, Text};

use super::{Conn, Exec, Id, Micros};

/// A [`Statement`]: `statement!("UPDATE things SET size = ? WHERE id = ?", size, id).exec(conn)`. That each `?` has its value is checked when it
/// is compiled; a `?` is a bound value even between quotes.
#[macro_export]
macro_rules! statement {
    ($text:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::Statement::new(
            const { $crate::store::expect_binds($text, <[&str]>::len(&[$(stringify!($bind)),*])) },
            [$($crate::store::Bind::from($bind)),*],
        )
    };
}

/// SQL text that is prepared once, and its values; made by [`statement!`](crate::statement). `Columns` are the SQL types of the rows it answers.
#[must_use = "a statement does nothing until it runs"]
pub struct Statement<'a, const N: usize, Columns = ()> {
    text: &'static str,
    binds: [Bind<'a>; N],
    columns: PhantomData<Columns>,
}

impl<'a, const N: usize> Statement<'a, N> {
    #[doc(hidden)]
    pub const fn new(text: &'static str, binds: [Bind<'a>; N]) -> Self {
        Self { text, binds, columns: PhantomData }
    }

    /// For a text that ends in RETURNING: what it returns, usually a table's `SqlType`.
    pub fn returning<Columns>(self) -> Statement<'a, N, Columns> {
        Statement { text: self.text, binds: self.binds, columns: PhantomData }
    }
}

/// The text, which has a `?` for each of `binds` values.
///
/// # Panics
/// When it has more or fewer. [`statement!`](crate::statement) calls it in a constant, so that is an error of the compiler.
#[doc(hidden)]
#[must_use]
pub const fn expect_binds(text: &'static str, binds: usize) -> &'static str {
    let (bytes, mut at, mut count) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'?' {
            count += 1;
        }
        at += 1;
    }
    assert!(count == binds, "the text needs a `?` for each bound value");
    text
}

/// Inserts rows as `insert` says (`INSERT INTO things (id, size)`), or does what `on_conflict` says (`ON CONFLICT (id) DO UPDATE SET …`).
///
/// SQLite takes them one by one: there are no round trips to save, and one row's statement is prepared once for all. PostgreSQL takes them in
/// one statement, so no two of them may meet in a conflict.
///
/// # Errors
/// Whatever the database refuses.
pub fn upsert<const N: usize>(
    conn: &mut Conn,
    insert: &'static str,
    rows: &[[Bind<'_>; N]],
    on_conflict: &'static str,
) -> QueryResult<()> {
    let at_once = match conn {
        Conn::Sqlite(_) => 1,
        Conn::Postgres(_) => rows.len().max(1),
    };
    rows.chunks(at_once).try_for_each(|rows| Upsert { insert, rows, on_conflict }.exec(conn).map(|_| ()))
}

struct Upsert<'a, const N: usize> {
    insert: &'static str,
    rows: &'a [[Bind<'a>; N]],
    on_conflict: &'static str,
}

macro_rules! binds {
    ($a:lifetime: $($(#[$doc:meta])* $variant:ident($type:ty) as $sql:ty,)+) => {
        /// A value to bind, or NULL of its type.
        #[derive(Clone, Copy, Debug)]
        pub enum Bind<$a> {
            $($(#[$doc])* $variant(Option<$type>),)+
        }

        $(
            impl<$a> From<$type> for Bind<$a> {
                fn from(value: $type) -> Self {
                    Self::$variant(Some(value))
                }
            }

            impl<$a> From<Option<$type>> for Bind<$a> {
                fn from(value: Option<$type>) -> Self {
                    Self::$variant(value)
                }
            }
        )+

        impl<$a, DB> QueryFragment<DB> for Bind<$a>
        where
            DB: Backend $(+ HasSqlType<$sql>)+,
            $(Option<$type>: ToSql<Nullable<$sql>, DB>,)+
        {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                match self {
                    $(Self::$variant(value) => out.push_bind_param::<Nullable<$sql>, _>(value),)+
                }
            }
        }
    };
}

binds! { 'a:
    /// 16 bits.
    SmallInt(i16) as SmallInt,
    /// 32 bits.
    Integer(i32) as Integer,
    /// 64 bits.
    BigInt(i64) as BigInt,
    /// True or false.
    Bool(bool) as Bool,
    /// Text.
    Text(&'a str) as Text,
    /// Bytes.
    Binary(&'a [u8]) as Binary,
    /// An identifier.
    Id(Id) as Binary,
    /// An instant.
    Micros(Micros) as BigInt,
}

impl<'a, const N: usize, Columns, DB: Backend> QueryFragment<DB> for Statement<'a, N, Columns>
where
    Bind<'a>: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut pieces = self.text.split('?');
        out.push_sql(pieces.next().unwrap_or_default());
        for (bind, piece) in self.binds.iter().zip(pieces) {
            bind.walk_ast(out.reborrow())?;
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl<'a, const N: usize, DB: Backend> QueryFragment<DB> for Upsert<'a, N>
where
    Bind<'a>: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if self.rows.len() != 1 {
            // The text varies with their number, and a connection keeps what it has prepared for ever.
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(self.insert);
        for (n, row) in self.rows.iter().enumerate() {
            out.push_sql(if n == 0 { " VALUES (" } else { ", (" });
            for (n, bind) in row.iter().enumerate() {
                out.push_sql(if n == 0 { "" } else { ", " });
                bind.walk_ast(out.reborrow())?;
            }
            out.push_sql(")");
        }
        out.push_sql(" ");
        out.push_sql(self.on_conflict);
        Ok(())
    }
}

/// Without a static id diesel finds the prepared statement by its text.
impl<const N: usize, Columns> QueryId for Statement<'_, N, Columns> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<const N: usize> QueryId for Upsert<'_, N> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<const N: usize, Columns> Query for Statement<'_, N, Columns> {
    type SqlType = Columns;
}

impl<const N: usize, Columns, C> RunQueryDsl<C> for Statement<'_, N, Columns> {}

#[cfg(test)]
mod tests;
