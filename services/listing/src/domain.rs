//! What listing decides: which listings, holds and reviews can be, and who may change them. Pure: no clock, no SQL, and of protobuf only the
//! [`Policy`], which says why.

mod days;
mod error;
mod hold;
mod listing;
mod policy;
mod review;

pub use days::{Days, RANGE_DAYS_MAX, STAY_NIGHTS_MAX, STOCK_DAY, Slot};
pub use error::{Error, Violation};
pub use hold::{Hold, HoldRequest, HoldState, Offer, quote};
pub use listing::{Availability, Draft, Field, Kind, Listing, ListingState, Registration};
pub use policy::{Capacity, Platform, Policy};
pub use review::{Review, ReviewAfter, check_content};
