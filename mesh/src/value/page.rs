//! Pages (AIP-158): lists ordered by id, usually newest first, continued by an opaque token.
//!
//! A token is bound to the query it came from; one from another query is refused rather than answered wrongly.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{fault::Fault, store::Id};

const ID_BYTES: usize = 16;
const QUERY_BYTES: usize = 8;

/// The limits of a list's page size.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    /// When the caller names none.
    pub default: i32,
    /// More is cut to this.
    pub max: i32,
}

impl PageSize {
    /// 50, at most 500.
    pub const STANDARD: Self = Self { default: 50, max: 500 };
}

/// One page of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    size: i64,
    last: Option<Id>,
    query: [u8; QUERY_BYTES],
}

impl Page {
    /// What a request asks for. `query` is everything else that decides the list, the caller and the order included.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`/`PAGE_TOKEN_INVALID` when the token is not one of this query's.
    pub fn parse(limits: PageSize, page_size: i32, page_token: &str, query: &[&str]) -> Result<Self, Fault> {
        let query = fingerprint(query);
        let size = match page_size {
            ..=0 => limits.default,
            size => size.min(limits.max),
        };
        let last = if page_token.is_empty() { None } else { Some(read_token(page_token, query)?) };
        Ok(Self { size: i64::from(size), last, query })
    }

    /// Rows to fetch: one more than a page, which tells whether there is another.
    #[must_use]
    pub const fn limit(&self) -> i64 {
        self.size + 1
    }

    /// In a list that goes from the newest, only rows with a smaller id belong here.
    #[must_use]
    pub const fn before(&self) -> Option<Id> {
        self.last
    }

    /// In a list that goes from the oldest, only rows with a greater id belong here.
    #[must_use]
    pub const fn after(&self) -> Option<Id> {
        self.last
    }

    /// Cuts fetched rows to the page and returns the token of the next, empty at the end.
    pub fn cut<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> Id) -> String {
        let size = usize::try_from(self.size).expect("a page size is positive");
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        rows.last().map_or_else(String::new, |last| {
            let mut token = [0; ID_BYTES + QUERY_BYTES];
            token[..ID_BYTES].copy_from_slice(id(last).as_bytes());
            token[ID_BYTES..].copy_from_slice(&self.query);
            BASE64_URL_SAFE_NO_PAD.encode(token)
        })
    }
}

fn fingerprint(query: &[&str]) -> [u8; QUERY_BYTES] {
    let mut hash = Context::new(&SHA256);
    for part in query {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    *hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

fn read_token(token: &str, query: [u8; QUERY_BYTES]) -> Result<Id, Fault> {
    let refused =
        || Fault::invalid("page_token", "PAGE_TOKEN_INVALID", "must come from the page before of the same list");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let (id, bound) = bytes.split_at_checked(ID_BYTES).ok_or_else(refused)?;
    let id = <[u8; ID_BYTES]>::try_from(id).map_err(|_| refused())?;
    if bound == query { Ok(Id::from_bytes(id)) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: i32, token: &str, query: &[&str]) -> Result<Page, Fault> {
        Page::parse(PageSize::STANDARD, size, token, query)
    }

    #[test]
    fn a_token_continues_its_own_query_only() {
        let mut ids: Vec<_> = (0..3).map(|_| Id::generate()).collect();
        let first = page(2, "", &["trips", "alice"]).expect("a page");
        let token = first.cut(&mut ids, |id| *id);
        assert_eq!(ids.len(), 2);
        assert_eq!(page(2, &token, &["trips", "alice"]).expect("a page").before(), Some(ids[1]));
        for (token, query) in
            [(token.as_str(), ["trips", "mallory"]), ("AAAA", ["trips", "alice"]), ("!", ["trips", "alice"])]
        {
            assert_eq!(page(2, token, &query).expect_err("refused").reason(), "PAGE_TOKEN_INVALID");
        }
    }

    #[test]
    fn the_last_page_has_no_token() {
        let mut ids = vec![Id::generate(), Id::generate()];
        assert_eq!(page(2, "", &[]).expect("a page").cut(&mut ids, |id| *id), "");
    }

    #[test]
    fn sizes_are_cut_to_their_limits() {
        assert_eq!(page(0, "", &[]).expect("a page").limit(), 51);
        assert_eq!(page(i32::MAX, "", &[]).expect("a page").limit(), 501);
    }
}
