//! Events as they are declared.

use contract::{DescriptorSet, ReleaseError, baseline::OURS, lint};
use proto::contract::FILE_DESCRIPTOR_SET;
use serde_json::{Value, json};

use crate::{
    edits::{Edit, replace},
    repository::{Repository, VOUCHER, edited},
};

const EVENTS: &str = "holdfast/voucher/v1/voucher_events.proto";

/// A request that is an event.
const SHOWN: &str = "message GetVoucherRequest {\n  option (holdfast.options.v1.event) = {\n    stream: \"VOUCHER\"\n    \
                     subject: \"holdfast.evt.voucher.voucher.shown.v1.{id}\"\n    key: \"name\"\n  };\n";

/// An event more, its subject without a version.
const NEW: &str = "// The ticket is lost.\nmessage VoucherLost {\n  option (holdfast.options.v1.event) = {\n    stream: \"VOUCHER\"\n    \
                   subject: \"holdfast.evt.voucher.voucher.lost.{id}\"\n    key: \"voucher.name\"\n  };\n\n  // As it \
                   was.\n  Voucher voucher = 1;\n}\n\nmessage VoucherIssued";

#[test]
fn our_events_are_declared_as_they_should() {
    let faults = lint::events(&DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).unwrap());
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A74: such an event was never released, so no comparison finds it; `check` stops it all the same, and so does a release.
#[test]
fn an_event_that_is_declared_as_it_must_not_stops_the_gate() {
    let repository = Repository::released(&edited(&[]));
    let bytes = edited(&[replace(EVENTS, "", "message VoucherIssued", NEW)]);
    repository.save(&bytes);
    let fault =
        "holdfast.voucher.v1.VoucherLost: holdfast.evt.voucher.voucher.lost.{id} does not end with a version and {id}";
    let text = repository.contract(&["check", "new.binpb"], 1);
    assert!(text.contains("breaking: 0,") && text.contains(&format!("events: {fault}\n")), "{text}");
    let text = repository.contract(&["check", "new.binpb", "--format", "github"], 1);
    assert!(text.contains(&format!("::error::{fault}\n")), "{text}");
    let report: Value =
        serde_json::from_str(&repository.contract(&["check", "new.binpb", "--format", "json"], 1)).unwrap();
    assert_eq!(report["events"], json!([fault]));
    assert!(matches!(repository.release(&bytes, "1.5.0"), Err(ReleaseError::Stopped(_))));
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
