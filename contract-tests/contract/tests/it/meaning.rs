//! Edits that leave every shape as it is: buf lets them pass, and each gives exactly the findings it should.

use std::collections::BTreeSet;

use contract::{RULES, compare};

use crate::{
    buf,
    edits::{Edit, SHAPES, Tree, decode, describe, replace},
};

const VOUCHER: &str = "holdfast/voucher/v1/voucher.proto";
const VOUCHER_EVENTS: &str = "holdfast/voucher/v1/voucher_events.proto";
const MILEAGE: &str = "holdfast/mileage/v1/mileage.proto";
const HOLD: &str = "holdfast/listing/v1/hold.proto";
const PAYMENT: &str = "holdfast/payment/v1/payment.proto";
const RESERVATION: &str = "holdfast/reservation/v1/reservation.proto";

/// An edit, and the rules it breaks with the symbols that break them.
type Case = (Edit, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
static CATALOGUE: &[Case] = &[
    // What requests may hold.
    (replace(MILEAGE, "message ListMileageEntriesRequest", "int32 page_size = 2 [\n    (google.api.field_behavior) = OPTIONAL", "int32 page_size = 2 [\n    (google.api.field_behavior) = REQUIRED"),
     &[("SEM_INPUT_REQUIRED_ADDED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_size")]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "(buf.validate.field).string.max_len = 512", "(buf.validate.field).string.max_len = 512,\n    (buf.validate.field).required = true"),
     &[("SEM_INPUT_REQUIRED_ADDED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_token")]),
    (replace(MILEAGE, "message ReverseMileageRequest", "  // The payment that earned them.\n", "  // Why.\n  string why = 9 [(google.api.field_behavior) = REQUIRED];\n  // The payment that earned them.\n"),
     &[("SEM_INPUT_REQUIRED_ADDED", "holdfast.mileage.v1.ReverseMileageRequest.why")]),
    (replace(MILEAGE, "message ReverseMileageRequest", "  // The payment that earned them.\n", "  // Why.\n  string why = 9;\n  // The payment that earned them.\n"), &[]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "(google.api.field_behavior) = OPTIONAL", "(google.api.field_behavior) = IMMUTABLE"),
     &[("SEM_INPUT_REQUIRED_ADDED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_size")]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "(google.api.field_behavior) = OPTIONAL", "(google.api.field_behavior) = OUTPUT_ONLY"),
     &[("SEM_INPUT_WRITABLE_LOST", "holdfast.mileage.v1.ListMileageEntriesRequest.page_size")]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "max_len = 512", "max_len = 100"),
     &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_token")]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "max_len = 512", "max_len = 1000"), &[]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "max_len = 512", "min_len = 1, (buf.validate.field).string.max_len = 512"),
     &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_token")]),
    (replace(MILEAGE, "message AccrueMileageRequest", "gte: 1\n", "gte: 2\n"), &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.AccrueMileageRequest.points")]),
    (replace(MILEAGE, "message AccrueMileageRequest", "gte: 1\n", "gt: 0\n"), &[]),
    (replace(MILEAGE, "message AccrueMileageRequest", "lte: 1000000", "lt: 1000000"), &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.AccrueMileageRequest.points")]),
    (replace(MILEAGE, "message AccrueMileageRequest", "lte: 1000000\n", "lte: 1000000\n      in: [5, 6]\n"), &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.AccrueMileageRequest.points")]),
    (replace(MILEAGE, "message ListMileageEntriesRequest", "string.max_len = 512", "string.pattern = \"^[a-z]*$\", (buf.validate.field).string.max_len = 512"),
     &[("SEM_INPUT_RULE_NARROWED", "holdfast.mileage.v1.ListMileageEntriesRequest.page_token")]),
    (replace(PAYMENT, "message ChargePaymentRequest", "{1,64}$", "{1,32}$"), &[("SEM_RULE_UNDECIDABLE", "holdfast.payment.v1.ChargePaymentRequest.payment_method")]),
    (replace(RESERVATION, "message CreateReservationRequest", "(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE,\n", ""),
     &[("SEM_INPUT_RULE_NARROWED", "holdfast.reservation.v1.CreateReservationRequest.payment_method")]),
    // What responses and events may hold.
    (replace(MILEAGE, "message MileageEntry {", "int64 points = 3 [", "int64 points = 3 [(buf.validate.field).int64.gte = 0, "), &[]),
    (replace(RESERVATION, "message Reservation {", "      gte: 1\n      lte: 1000\n", "      gte: 1\n      lte: 2000\n"), &[("SEM_OUTPUT_RULE_WIDENED", "holdfast.reservation.v1.Reservation.units")]),
    (replace(RESERVATION, "message Reservation {", "      gte: 1\n      lte: 1000\n", "      gte: 1\n      lte: 500\n"), &[("SEM_INPUT_RULE_NARROWED", "holdfast.reservation.v1.Reservation.units")]),
    (replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "STATE_CANCELLED = 2;\n    STATE_USED = 3;"), &[("SEM_ENUM_WIDENED_OUT", "holdfast.voucher.v1.Voucher.STATE_USED")]),
    (replace(HOLD, "message Hold {", "    google.type.Date date = 7;\n", "    google.type.Date date = 7;\n    string other = 70;\n"), &[("SEM_ONEOF_WIDENED_OUT", "holdfast.listing.v1.Hold.other")]),
    (replace(HOLD, "message PlaceHoldRequest {", "    google.type.Date date = 7;\n", "    google.type.Date date = 7;\n    string other = 70;\n"), &[]),
    // RPCs.
    (replace(VOUCHER, "rpc GetVoucher(", "/v1/{name=vouchers/*}", "/v2/{name=vouchers/*}"), &[("SEM_HTTP_BINDING_CHANGED", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(VOUCHER, "rpc GetVoucher(", "      response_body: \"voucher\"\n", ""), &[("SEM_HTTP_BINDING_CHANGED", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(VOUCHER, "rpc ListVouchers(", "    option (google.api.http) = {get: \"/v1/vouchers\"};\n", ""), &[("SEM_HTTP_BINDING_LOST", "holdfast.voucher.v1.VoucherService.ListVouchers")]),
    (replace(VOUCHER, "rpc ListVouchers(", "{get: \"/v1/vouchers\"}", "{get: \"/v1/vouchers\" additional_bindings {get: \"/v1/tickets\"}}"), &[]),
    (replace(VOUCHER, "service VoucherService {", "  // Lists", "  rpc Count(GetVoucherRequest) returns (GetVoucherResponse);\n  // Lists"), &[("SEM_IDEMPOTENCY_UNDECLARED", "holdfast.voucher.v1.VoucherService.Count")]),
    (replace(VOUCHER, "rpc GetVoucher(", "        ROLE_HOST,\n", ""), &[("SEM_ACCESS_NARROWED", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "[\"payment\"]", "[\"payment\", \"voucher\"]"), &[("SEM_ACCESS_WIDENED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "default_ms: 500", "default_ms: 400"), &[("SEM_DEADLINE_LOWERED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "max_ms: 10000", "max_ms: 9000"), &[("SEM_DEADLINE_LOWERED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "min_ms: 1\n", "min_ms: 5\n"), &[("SEM_DEADLINE_LOWERED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "max_ms: 10000", "max_ms: 20000"), &[]),
    (replace(VOUCHER, "rpc GetVoucher(", "    option (holdfast.options.v1.errors) = {\n      code: NOT_FOUND\n      reason: \"VOUCHER_NOT_FOUND\"\n    };\n", ""),
     &[("SEM_ERROR_REASON_LOST", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(VOUCHER, "rpc GetVoucher(", "code: NOT_FOUND", "code: ABORTED"), &[("SEM_ERROR_CODE_CHANGED", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(VOUCHER, "rpc GetVoucher(", "    option (holdfast.options.v1.errors)", "    option (holdfast.options.v1.errors) = {\n      code: ABORTED\n      reason: \"BUSY\"\n    };\n    option (holdfast.options.v1.errors)"),
     &[("SEM_ERROR_REASON_ADDED", "holdfast.voucher.v1.VoucherService.GetVoucher")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "idempotency_key) = \"payment\"", "idempotency_key) = \"reservation\""), &[("SEM_IDEMPOTENCY_KEY_CHANGED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(MILEAGE, "rpc AccrueMileage(", "    option (holdfast.options.v1.idempotency_key) = \"payment\";\n", ""), &[("SEM_IDEMPOTENCY_KEY_CHANGED", "holdfast.mileage.v1.AccrualService.AccrueMileage")]),
    (replace(PAYMENT, "rpc ChargePayment(", "    option (holdfast.options.v1.idempotency_key) = \"attempt\";\n", ""), &[("SEM_IDEMPOTENCY_KEY_CHANGED", "holdfast.payment.v1.ChargeService.ChargePayment")]),
    (replace(PAYMENT, "rpc RefundPayment(", "idempotency_key) = \"reservation\";", "idempotency_key) = \"reservation\";\n    option (holdfast.options.v1.idempotency_key) = \"reason\";"), &[("SEM_IDEMPOTENCY_KEY_CHANGED", "holdfast.payment.v1.ChargeService.RefundPayment")]),
    (replace(VOUCHER, "rpc GetVoucher(", "    option (holdfast.options.v1.errors)", "    option (holdfast.options.v1.idempotency_key) = \"name\";\n    option (holdfast.options.v1.errors)"), &[]),
    // Events.
    (replace(VOUCHER_EVENTS, "message VoucherIssued", "stream: \"VOUCHER\"", "stream: \"OTHER\""), &[("SEM_EVENT_STREAM_CHANGED", "holdfast.voucher.v1.VoucherIssued")]),
    (replace(VOUCHER_EVENTS, "message VoucherIssued", "issued.v1.{id}", "issued.v2.{id}"), &[("SEM_EVENT_SUBJECT_CHANGED", "holdfast.voucher.v1.VoucherIssued")]),
    (replace(VOUCHER_EVENTS, "message VoucherIssued", "voucher.name", "voucher.host"), &[("SEM_EVENT_KEY_CHANGED", "holdfast.voucher.v1.VoucherIssued")]),
    (replace(VOUCHER_EVENTS, "message VoucherIssued", "  option (holdfast.options.v1.event) = {\n    stream: \"VOUCHER\"\n    subject: \"holdfast.evt.voucher.voucher.issued.v1.{id}\"\n    key: \"voucher.name\"\n  };\n", ""),
     &[("SEM_EVENT_LOST", "holdfast.voucher.v1.VoucherIssued")]),
    // The rest.
    (replace(PAYMENT, "message ChargePaymentRequest", ",\n    debug_redact = true", ""), &[("SEM_REDACT_LOST", "holdfast.payment.v1.ChargePaymentRequest.payment_method")]),
    (replace(VOUCHER, "message Voucher {", "string host = 4 [", "string host = 4 [deprecated = true, "), &[("SEM_DEPRECATED", "holdfast.voucher.v1.Voucher.host")]),
    (replace(VOUCHER, "message Voucher {", "// When it was issued.", "// When it was asked for."), &[("SEM_DOC_CHANGED", "holdfast.voucher.v1.Voucher.create_time")]),
];

/// A74: what buf cannot see, each kind of it.
#[test]
fn an_edit_of_meaning_gives_exactly_its_findings_and_buf_gives_none() {
    let tree = Tree::ours();
    let old = tree.compile();
    let complaints: Vec<String> = CATALOGUE
        .iter()
        .filter_map(|(edit, expected)| check(&old, &tree.edited(&[*edit]).compile(), *edit, expected).err())
        .collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), CATALOGUE.len(), complaints.join("\n"));
    let tried: BTreeSet<&str> = CATALOGUE.iter().flat_map(|(_, rules)| rules.iter().map(|(rule, _)| *rule)).collect();
    let untried: Vec<_> =
        RULES.iter().map(|rule| rule.id).filter(|id| id.starts_with("SEM_") && !tried.contains(id)).collect();
    // Two are tried below, and one compares more than two sets: it is tried with the releases.
    assert_eq!(untried, ["SEM_PACKED_CHANGED", "SEM_REMOVAL_WITHOUT_DEPRECATION", "SEM_UNDEPRECATED"]);
}

#[test]
fn a_number_packed_otherwise_and_a_deprecation_taken_back_are_found() {
    let tree = Tree::shapes();
    let old = tree.compile();
    let packed = replace(SHAPES, "", "repeated int32 numbers = 7", "repeated int32 numbers = 7 [packed = false]");
    let new = tree.edited(&[packed]).compile();
    check(&old, &new, packed, &[("SEM_PACKED_CHANGED", "catalogue.v1.Shapes.numbers")]).unwrap();
    let deprecated = replace(SHAPES, "", "int32 small = 1", "int32 small = 1 [deprecated = true]");
    let new = tree.edited(&[deprecated]).compile();
    check(&new, &old, deprecated, &[("SEM_UNDEPRECATED", "catalogue.v1.Shapes.small")]).unwrap();
}

/// What is wrong, if anything: other findings than expected, a finding without a place, or one of buf's.
fn check(old: &[u8], new: &[u8], edit: Edit, expected: &[(&str, &str)]) -> Result<(), String> {
    let findings = compare(&decode(old), &decode(new));
    let has_places = findings.iter().all(|finding| finding.file.is_some() && finding.span.is_some());
    let found: Vec<_> = findings.iter().map(|finding| (finding.rule.id, finding.symbol.as_str())).collect();
    let theirs = buf::breaking(old, new);
    if found == expected && has_places && theirs.is_empty() {
        return Ok(());
    }
    Err(format!("{}\n  found {findings:?}\n  instead of {expected:?}\n  buf {theirs:?}", describe(&[edit])))
}
