//! Values that every contract shares: money, days, resource names, pages, field masks, etags.
//!
//! Each type holds only what is valid, so that a check happens once, where a request is decoded. What a request has wrong
//! becomes a [`Fault`](crate::fault::Fault) that names the field.

mod day;
mod money;
mod name;
mod page;
mod update;

pub use day::{Day, DayError, Zone};
pub use money::{Currency, Money, MoneyError};
pub use name::{format_name, format_user, id_of, user_of};
pub use page::{Page, PageSize};
pub use update::{check_etag, etag, update_paths};
