//! The contracts of Holdfast and the code generated from them.
//!
//! One module per service and version: [`listing`], [`reservation`], [`payment`], [`mileage`], [`voucher`], [`message`],
//! [`view`], [`marketing`]; [`mesh`] is what all of them serve to operators.
//! [`contract`] holds what the contracts say besides shapes. The `.proto` files in `holdfast/` are the source; they are
//! compiled without protoc, once, by the build script.
//!
//! A request is checked against its validation rules while it is decoded (see [`codec`]), so a handler never sees one
//! that breaks them.

pub mod codec;
pub mod contract;
mod validation;

#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from the contracts; the comments there are the docs"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
    include!(concat!(env!("OUT_DIR"), "/rules.rs"));
}

pub use generated::{
    google,
    holdfast::{listing, marketing, mesh, message, mileage, payment, reservation, view, voucher},
};
