//! Events as they are declared.

use contract::{DescriptorSet, baseline::OURS, lint};
use proto::contract::FILE_DESCRIPTOR_SET;

use crate::{
    edits::{Edit, replace},
    repository::{VOUCHER, edited},
};

const EVENTS: &str = "holdfast/voucher/v1/voucher_events.proto";

/// A request that is an event.
const SHOWN: &str = "message GetVoucherRequest {\n  option (holdfast.options.v1.event) = {\n    stream: \"VOUCHER\"\n    \
                     subject: \"holdfast.evt.voucher.voucher.shown.v1.{id}\"\n    key: \"name\"\n  };\n";

#[test]
fn our_events_are_declared_as_they_should() {
    let faults = lint::events(&DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).unwrap());
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_is_wrong_with_a_declaration_is_told() {
    let check = |edit: Edit, expected: &str| {
        let faults = lint::events(&DescriptorSet::decode(&edited(&[edit]), OURS).unwrap());
        assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:?}");
    };
    check(
        replace(EVENTS, "message VoucherCancelled", "voucher.cancelled.v1.{id}", "voucher.issued.v1.{id}"),
        "has the subject of holdfast.voucher.v1.Voucher",
    );
    check(replace(EVENTS, "message VoucherIssued", "issued.v1.{id}", "issued.{id}"), "does not end with a version");
    check(replace(EVENTS, "message VoucherIssued", "\"voucher.name\"", "\"voucher\""), "leads to no single value");
    check(replace(EVENTS, "message VoucherIssued", "\"voucher.name\"", "\"voucher.nam\""), "leads to no single value");
    check(
        replace(EVENTS, "", "message VoucherIssued", "// None.\nmessage Other {}\nmessage VoucherIssued"),
        "is no event",
    );
    check(replace(VOUCHER, "", "message GetVoucherRequest {\n", SHOWN), "is an event, and");
}
