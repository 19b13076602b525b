//! Reviews: what guests say of a listing.

use mesh::store::{Id, Micros};

use super::{HoldState, Violation};

/// When a guest may leave a review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReviewAfter {
    /// Once a reservation is confirmed.
    #[default]
    Confirmed,
    /// Once a reservation is completed.
    Completed,
}

impl ReviewAfter {
    /// The states of a hold that let its customer review.
    #[must_use]
    pub const fn states(self) -> &'static [HoldState] {
        match self {
            Self::Confirmed => &[HoldState::Committed, HoldState::Completed],
            Self::Completed => &[HoldState::Completed],
        }
    }
}

/// A guest's words about a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Its identifier.
    pub id: Id,
    /// The listing.
    pub listing: Id,
    /// Who wrote it.
    pub author: String,
    /// The text; empty once deleted.
    pub content: String,
    /// Whether its author deleted it.
    pub deleted: bool,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was written.
    pub created_at: Micros,
    /// When it last changed.
    pub updated_at: Micros,
}

/// Refuses a text that says nothing.
///
/// # Errors
/// The violation of `review.content`.
pub fn check_content(content: &str) -> Result<(), Violation> {
    if content.trim().is_empty() { Err(Violation::required("review.content")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_says_something() {
        assert!(check_content("좋아요").is_ok());
        for nothing in ["", " \n\t"] {
            assert_eq!(check_content(nothing).expect_err("refused").field, "review.content");
        }
    }
}
