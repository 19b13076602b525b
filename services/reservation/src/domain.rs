//! What a reservation is, which moves it may make, what its policy asks for and what a caller may be refused for. Pure: no
//! clock, no SQL, no wire.

mod failure;
mod policy;
mod reservation;
mod slot;
mod state;
#[cfg(test)]
mod tests;

pub use failure::{Failure, Refusal, Trouble};
pub use policy::{Approval, Deal, Described, Mileage, Next, Payment, Policy, Refund};
pub use reservation::{Cancellation, Change, Fact, PaymentMethod, Reservation, Undo, Wish};
pub use slot::{NIGHTS_MAX, Slot, Stay, StayError};
pub use state::State;
