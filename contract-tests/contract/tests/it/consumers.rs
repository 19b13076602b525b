//! Recorded consumers: what they expect is held against the contracts, and findings name those whom they hurt.

use std::fs;

use contract::{
    Consumer, ConsumersError, DescriptorSet, Judgement,
    baseline::OURS,
    consumers::{self, Calling, Case, Choice, Reading},
    report,
};
use prost::Message as _;
use proto::contract::FILE_DESCRIPTOR_SET;
use serde_json::json;

use crate::{
    edits::{Edit, replace},
    repository::{NARROWED, RENAMED, Repository, VOUCHER, edited, ours},
};

const ISSUED: &str = "holdfast.voucher.v1.VoucherIssued";
const LIST: &str = "holdfast.voucher.v1.VoucherService.ListVouchers";
const GET: &str = "holdfast.voucher.v1.VoucherService.GetVoucher";
const HOLD: &str = "holdfast/listing/v1/hold.proto";

/// Another value of a voucher's state.
const USED: Edit = replace(
    VOUCHER,
    "enum State {",
    "STATE_CANCELLED = 2;",
    "STATE_CANCELLED = 2;\n    // It was shown at the desk.\n    STATE_USED = 3;",
);

/// Reads vouchers' hosts and states, lists them, asks for one.
fn desk(tolerates_unknown: bool) -> Consumer {
    let text = |path: &str| (path.to_owned(), "string".to_owned());
    let state = Choice { knows: ["STATE_ISSUED".to_owned()].into(), tolerates_unknown };
    let reading = Reading {
        reads: [text("voucher.host"), ("voucher.state".to_owned(), "holdfast.voucher.v1.Voucher.State".to_owned())]
            .into(),
        choices: [("voucher.state".to_owned(), state)].into(),
    };
    let case = |request| Case {
        scene: "a morning".to_owned(),
        step: 1,
        request,
        answer: serde_json::Value::Null,
        refused: String::new(),
    };
    let listing = Calling { cases: vec![case(json!({"pageToken": "x".repeat(200)}))], ..Calling::default() };
    let getting = Calling {
        cases: vec![case(json!({"name": "vouchers/01890a5d-ac96-774b-bcce-b302099a8057"}))],
        reads: [text("voucher.ticket_number")].into(),
        reasons: ["VOUCHER_NOT_FOUND".to_owned()].into(),
        ..Calling::default()
    };
    Consumer {
        consumer: "desk".to_owned(),
        provider: "voucher".to_owned(),
        events: [(ISSUED.to_owned(), reading)].into(),
        rpcs: [(LIST.to_owned(), listing), (GET.to_owned(), getting)].into(),
    }
}

fn with(consumer: &Consumer) -> Repository {
    let repository = Repository::released(&edited(&[]));
    let folder = repository.project().consumers();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("desk.json"), consumer.to_json()).unwrap();
    repository
}

fn hurt<'a>(judgement: &'a Judgement, rule: &str) -> &'a [String] {
    let judged = judgement.findings.iter().find(|judged| judged.finding.rule.id == rule);
    &judged.unwrap_or_else(|| panic!("no {rule} in {judgement:?}")).hurt.consumers
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let consumer = desk(true);
    let repository = with(&consumer);
    assert_eq!(consumers::read(&repository.project().consumers()).unwrap(), std::slice::from_ref(&consumer));
    assert!(repository.judge(&edited(&[])).passes());
    fs::write(repository.project().consumers().join("worse.json"), "{\"consumer\": \"x\"}").unwrap();
    let worse = consumers::read(&repository.project().consumers());
    assert!(matches!(worse, Err(ConsumersError::Malformed { .. })), "{worse:?}");
    repository.contract(&["check"], 2);
}

/// A74: what is read cannot be changed without a word of who reads it.
#[test]
fn a_finding_names_the_consumers_that_it_hurts() {
    let repository = with(&desk(true));
    let judgement = repository.judge(&edited(&[RENAMED]));
    assert_eq!(hurt(&judgement, "FIELD_SAME_NAME"), ["desk"]);
    assert_eq!(judgement.unmet, ["desk reads holdfast.voucher.v1.VoucherIssued.voucher.host, which is not there"]);

    let removed = replace(VOUCHER, "message Voucher {", "string host = 4 [", "string owner = 40 [");
    assert_eq!(hurt(&repository.judge(&edited(&[removed])), "FIELD_NO_DELETE"), ["desk"]);
    repository.save(&edited(&[removed]));
    let text = repository.contract(&["check", "new.binpb"], 1);
    assert!(text.contains("consumers: desk reads holdfast.voucher.v1.VoucherIssued.voucher.host"), "{text}");

    let retyped = replace(VOUCHER, "message Voucher {", "string host = 4", "bytes host = 4");
    let judgement = repository.judge(&edited(&[retyped]));
    assert_eq!(hurt(&judgement, "FIELD_SAME_TYPE"), ["desk"]);
    assert_eq!(
        judgement.unmet,
        ["desk reads holdfast.voucher.v1.VoucherIssued.voucher.host as string, and it is bytes"]
    );
    let text = report::judgement(&judgement, report::Format::Text);
    assert!(text.contains("\n  consumers desk\n"), "{text}");
}

/// Those who send what would be refused are told apart from those who do not.
#[test]
fn a_narrowed_request_names_those_whose_requests_are_refused() {
    let narrowed = edited(&[NARROWED]);
    let judgement = with(&desk(true)).judge(&narrowed);
    assert_eq!(hurt(&judgement, "SEM_INPUT_RULE_NARROWED"), ["desk (requests refused: 1)"]);
    assert_eq!(
        judgement.unmet,
        [format!(
            "desk calls {LIST}, and its request 1 of \"a morning\" is refused: \
             holdfast.voucher.v1.ListVouchersRequest.page_token breaks string.max_len"
        )]
    );
    let mut brief = desk(true);
    brief.rpcs.get_mut(LIST).unwrap().cases[0].request = json!({"pageToken": "x"});
    let judgement = with(&brief).judge(&narrowed);
    assert_eq!(hurt(&judgement, "SEM_INPUT_RULE_NARROWED"), ["desk (the requests it recorded pass)"]);
    assert_eq!(judgement.unmet, [""; 0]);
}

/// What nobody stumbles over breaks nobody, if all who read it say so.
#[test]
fn a_value_more_breaks_only_those_who_do_not_tolerate_it() {
    let used = edited(&[USED]);
    let judgement = with(&desk(false)).judge(&used);
    assert_eq!(hurt(&judgement, "SEM_ENUM_WIDENED_OUT"), ["desk"]);
    assert!(!judgement.passes());

    let repository = with(&desk(true));
    let judgement = repository.judge(&used);
    assert_eq!(hurt(&judgement, "SEM_ENUM_WIDENED_OUT"), ["desk"]);
    assert!(judgement.passes(), "{judgement:?}");
    assert_eq!(judgement.least.to_string(), "1.5.0");
    repository.release(&used, "1.5.0").unwrap();

    // Nobody has said anything: somebody may stumble.
    assert!(!Repository::released(&edited(&[])).judge(&used).passes());
}

#[test]
fn a_member_more_breaks_only_those_who_do_not_tolerate_it() {
    let grown = replace(
        HOLD,
        "message Hold {",
        "    google.type.Date date = 7;\n",
        "    google.type.Date date = 7;\n    // Whenever.\n    string other = 70;\n",
    );
    let reads = |tolerates_unknown| {
        let slot = Choice { knows: ["stay".to_owned(), "date".to_owned()].into(), tolerates_unknown };
        let reading = Reading { reads: [].into(), choices: [("hold.slot".to_owned(), slot)].into() };
        Consumer {
            consumer: "board".to_owned(),
            provider: "listing".to_owned(),
            events: [("holdfast.listing.v1.HoldPlaced".to_owned(), reading)].into(),
            rpcs: [].into(),
        }
    };
    let grown = edited(&[grown]);
    assert!(with(&reads(true)).judge(&grown).passes());
    let judgement = with(&reads(false)).judge(&grown);
    assert_eq!(hurt(&judgement, "SEM_ONEOF_WIDENED_OUT"), ["board"]);
    assert!(!judgement.passes());
}

#[test]
fn what_a_consumer_expects_and_is_not_there_stops_the_gate() {
    let check = |change: &dyn Fn(&mut Consumer), expected: &str| {
        let mut consumer = desk(true);
        change(&mut consumer);
        let judgement = with(&consumer).judge(&edited(&[]));
        assert!(judgement.unmet.iter().any(|unmet| unmet.contains(expected)), "{expected}: {:?}", judgement.unmet);
        assert!(!judgement.passes());
    };
    let event = |consumer: &mut Consumer| consumer.events.remove(ISSUED).unwrap();
    check(
        &|desk| {
            let reads = &mut desk.events.get_mut(ISSUED).unwrap().reads;
            reads.insert("voucher.desk".to_owned(), "string".to_owned());
        },
        "voucher.desk, which is not there",
    );
    check(
        &|desk| {
            let choice = desk.events.get_mut(ISSUED).unwrap().choices.get_mut("voucher.state").unwrap();
            choice.knows.insert("STATE_LOST".to_owned());
        },
        "knows STATE_LOST, which is not there",
    );
    check(
        &|desk| {
            let event = event(desk);
            desk.events.insert("holdfast.voucher.v1.VoucherLost".to_owned(), event);
        },
        "consumes holdfast.voucher.v1.VoucherLost, which is no event",
    );
    check(
        &|desk| {
            let event = event(desk);
            desk.events.insert("holdfast.listing.v1.ListingDeleted".to_owned(), event);
        },
        "holdfast.listing.v1.ListingDeleted is not of voucher",
    );
    check(
        &|desk| {
            let calling = desk.rpcs.remove(GET).unwrap();
            desk.rpcs.insert(format!("{GET}s"), calling);
        },
        "GetVouchers, which is no RPC",
    );
    check(
        &|desk| {
            desk.rpcs.get_mut(GET).unwrap().reasons.insert("VOUCHER_LOST".to_owned());
        },
        "handles VOUCHER_LOST, which is not declared",
    );
    check(
        &|desk| desk.rpcs.get_mut(GET).unwrap().cases[0].refused = "VOUCHER_LOST".to_owned(),
        "is answered VOUCHER_LOST, which is not declared",
    );
    check(
        &|desk| desk.rpcs.get_mut(GET).unwrap().cases[0].request = json!({"number": 1}),
        "request 1 of \"a morning\" is none",
    );
    check(
        &|desk| desk.rpcs.get_mut(GET).unwrap().cases[0].request = json!({"name": "vouchers/1"}),
        "is refused: holdfast.voucher.v1.GetVoucherRequest.name breaks string.pattern",
    );
    check(&|desk| desk.rpcs.get_mut(GET).unwrap().cases[0].request = json!({}), "breaks required");
}

/// Whatever our own services were seen to read: none of it can go without their names.
#[test]
fn every_field_that_our_services_read_is_guarded() {
    let committed = consumers::read(&ours().consumers()).unwrap();
    let services = committed.iter().filter(|it| it.provider == "reservation").count();
    assert!(services >= 5, "{services}");
    let mut set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let file = set.file.iter_mut().find(|file| file.name().ends_with("reservation/v1/reservation.proto")).unwrap();
    let message = file.message_type.iter_mut().find(|message| message.name() == "Reservation").unwrap();
    message.field.retain(|field| field.name() != "listing_display_name");
    let set = DescriptorSet::decode(&set.encode_to_vec(), OURS).unwrap();
    let unmet = consumers::unmet(&committed, &set);
    for reader in ["message", "view", "voucher"] {
        assert!(unmet.iter().any(|it| it.starts_with(&format!("{reader} reads "))), "{reader}: {unmet:?}");
    }
}
