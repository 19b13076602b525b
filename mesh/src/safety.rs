//! Safety mechanisms that a simulation may do without, one at a time, to see that it notices. Everywhere else they are always there, and the
//! question costs nothing.

/// Whether the mechanism of this name is switched off.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
#[must_use]
pub const fn is_off(_: &'static str) -> bool {
    false
}

#[cfg(feature = "simulation")]
pub use crate::simulation::is_off;
