//! Checks a message against the `buf.validate` rules of its contract.
//!
//! The build script writes one [`Validate`] implementation per message; this module is what they call. Only standard
//! rules exist here, no expressions: rules over several fields are the services' business.

use std::fmt;

/// A message with rules.
pub trait Validate {
    /// Whether an RPC takes it as its request. Only requests are checked on arrival: answers come from us.
    const IS_REQUEST: bool;

    /// Adds what is wrong to `violations`; `path` is where this message stands in the request.
    fn validate(&self, path: &FieldPath<'_>, violations: &mut Vec<Violation>);
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path of the field, e.g. `reservation.stay.check_in_date`.
    pub field: String,
    /// The rule, e.g. `REQUIRED` or `STRING_MAX_LEN`.
    pub reason: &'static str,
    /// One sentence for a person. Never repeats the value, which may be secret.
    pub description: String,
}

/// Where a field stands in its request; becomes text only when something is wrong.
#[derive(Clone, Copy, Debug)]
pub struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    name: &'static str,
    index: Option<usize>,
}

impl FieldPath<'_> {
    /// The request itself.
    pub const ROOT: FieldPath<'static> = FieldPath { parent: None, name: "", index: None };
}

impl<'a> FieldPath<'a> {
    /// A field of this message.
    #[must_use]
    pub const fn field(&'a self, name: &'static str) -> Self {
        Self { parent: Some(self), name, index: None }
    }

    /// An element of this message's repeated field.
    #[must_use]
    pub const fn element(&'a self, name: &'static str, index: usize) -> Self {
        Self { parent: Some(self), name, index: Some(index) }
    }

    fn violation(&self, reason: &'static str, description: impl Into<String>) -> Violation {
        Violation { field: self.to_string(), reason, description: description.into() }
    }
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if parent.parent.is_some() {
                f.write_str(".")?;
            }
        }
        f.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

pub(crate) fn required(present: bool, path: &FieldPath<'_>, violations: &mut Vec<Violation>) {
    if !present {
        violations.push(path.violation("REQUIRED", "must be set"));
    }
}

pub(crate) fn length(
    value: &str,
    min: Option<u64>,
    max: Option<u64>,
    path: &FieldPath<'_>,
    violations: &mut Vec<Violation>,
) {
    // A character is at least one byte: a text of few bytes needs no count.
    if min.is_none() && max.is_some_and(|max| value.len() as u64 <= max) {
        return;
    }
    let length = value.chars().count() as u64;
    if let Some(min) = min.filter(|min| length < *min) {
        violations.push(path.violation("STRING_MIN_LEN", format!("must have at least {min} characters")));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        violations.push(path.violation("STRING_MAX_LEN", format!("must have at most {max} characters")));
    }
}

pub(crate) fn pattern(value: &str, regex: &regex::Regex, path: &FieldPath<'_>, violations: &mut Vec<Violation>) {
    if !regex.is_match(value) {
        violations.push(path.violation("STRING_PATTERN", format!("must match {}", regex.as_str())));
    }
}

pub(crate) fn uuid(value: &str, path: &FieldPath<'_>, violations: &mut Vec<Violation>) {
    let well_formed = value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !well_formed {
        violations.push(path.violation("STRING_UUID", "must be a UUID"));
    }
}

pub(crate) fn range(
    value: i64,
    min: Option<i64>,
    max: Option<i64>,
    path: &FieldPath<'_>,
    violations: &mut Vec<Violation>,
) {
    if let Some(min) = min.filter(|min| value < *min) {
        violations.push(path.violation("NUMBER_MIN", format!("must be at least {min}")));
    }
    if let Some(max) = max.filter(|max| value > *max) {
        violations.push(path.violation("NUMBER_MAX", format!("must be at most {max}")));
    }
}

pub(crate) fn defined(known: bool, path: &FieldPath<'_>, violations: &mut Vec<Violation>) {
    if !known {
        violations.push(path.violation("ENUM_DEFINED_ONLY", "must be a value the contract defines"));
    }
}

pub(crate) fn items(count: usize, max: u64, path: &FieldPath<'_>, violations: &mut Vec<Violation>) {
    if count as u64 > max {
        violations.push(path.violation("REPEATED_MAX_ITEMS", format!("must have at most {max} items")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        google::r#type::Date,
        listing::v1::{CreateListingRequest, DateCapacity, Listing, Stay},
        reservation::v1::{CreateReservationRequest, Reservation, reservation::Slot},
        view::v1::ListTripsRequest,
    };

    fn check(request: &impl Validate) -> Vec<(String, &'static str)> {
        let mut violations = Vec::new();
        request.validate(&FieldPath::ROOT, &mut violations);
        violations.into_iter().map(|violation| (violation.field, violation.reason)).collect()
    }

    #[test]
    fn an_empty_request_misses_every_required_field() {
        let broken = check(&CreateReservationRequest::default());
        let required: Vec<_> =
            broken.iter().filter(|(_, reason)| *reason == "REQUIRED").map(|(f, _)| f.as_str()).collect();
        assert_eq!(required, ["reservation", "request_id"]);
    }

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let stay = Stay { check_in_date: Some(Date::default()), check_out_date: None };
        let reservation = Some(Reservation { slot: Some(Slot::Stay(stay)), ..Default::default() });
        let broken = check(&CreateReservationRequest { reservation, ..Default::default() });
        assert!(broken.contains(&("reservation.stay.check_out_date".to_owned(), "REQUIRED")), "{broken:?}");
        assert!(broken.contains(&("reservation.units".to_owned(), "NUMBER_MIN")), "{broken:?}");
    }

    #[test]
    fn lists_have_limits_and_their_items_are_checked() {
        let date_capacities = vec![DateCapacity { date: None, capacity: -1 }; 367];
        let listing = Some(Listing { date_capacities, ..Default::default() });
        let broken = check(&CreateListingRequest { listing, ..Default::default() });
        assert!(broken.contains(&("listing.date_capacities".to_owned(), "REPEATED_MAX_ITEMS")), "{broken:?}");
        assert!(broken.contains(&("listing.date_capacities[366].date".to_owned(), "REQUIRED")), "{broken:?}");
        let broken = check(&ListTripsRequest { states: vec![1, 99], ..Default::default() });
        assert_eq!(broken, [("states[1]".to_owned(), "ENUM_DEFINED_ONLY")]);
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        let mut violations = Vec::new();
        length("예약", Some(2), Some(2), &FieldPath::ROOT, &mut violations);
        assert_eq!(violations, []);
        length("예약됨", None, Some(2), &FieldPath::ROOT, &mut violations);
        assert_eq!(violations.len(), 1);
    }

    #[test]
    fn a_payment_method_does_not_show_in_debug_output() {
        let request = CreateReservationRequest { payment_method: "pm_card_visa".to_owned(), ..Default::default() };
        assert!(!format!("{request:?}").contains("visa"));
    }
}
