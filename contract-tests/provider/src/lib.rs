//! Holds servers to their contracts.
//!
//! Reads descriptors at run time and makes from them, for every RPC, the tests that its contract implies: valid requests
//! are answered, each broken rule is refused by its field, refusals are declared, safe calls change nothing, repeats change
//! nothing more, only those whom the contract names get in, what is published is what was declared. Nothing is written by hand
//! for an RPC: a new one is tested because it is there, and its absence from the committed list of checks is a failure.
//!
//! A [`Suite`] tests a [`Target`]: our own mesh in `cargo verify`, or servers at any address, whoever wrote them. It sees what a
//! caller sees, and, where it is told of the broker, what a consumer sees. It does not look into databases.

mod call;
mod chain;
mod checks;
mod credentials;
mod declared;
mod events;
mod failure;
mod fault;
mod model;
mod path;
mod pattern;
mod plan;
mod reflection;
mod rules;
mod runner;
mod suite;
mod unmet;
mod values;

pub use call::{Endpoints, EndpointsError};
pub use credentials::Credentials;
pub use events::{Captured, Recorder, check_declared, check_type};
pub use failure::Failure;
pub use model::{Event, Idempotency, Model, ModelError, Rpc};
pub use plan::{Check, Plan, checks, surface};
pub use reflection::discover;
pub use runner::run;
pub use suite::{Suite, Target};
pub use unmet::{Unmet, UnmetError};
