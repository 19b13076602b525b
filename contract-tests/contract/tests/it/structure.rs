//! The mutator: edits of our contracts' shape, judged by us and by buf.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use contract::{Baseline, RULES, Tier, compare};
use proto::contract::FILE_DESCRIPTOR_SET;

use crate::{
    buf::{self, Claim},
    edits::{Edit, FLIP, LEGACY, SHAPES, Tree, decode, describe, replace},
    repository::ours,
};

const VOUCHER: &str = "holdfast/voucher/v1/voucher.proto";
const VOUCHER_EVENTS: &str = "holdfast/voucher/v1/voucher_events.proto";
const MILEAGE: &str = "holdfast/mileage/v1/mileage.proto";
const HOLD: &str = "holdfast/listing/v1/hold.proto";
const VIEW: &str = "holdfast/view/v1/view.proto";
const MARKETING_EVENTS: &str = "holdfast/marketing/v1/marketing_events.proto";

const fn shapes(from: &'static str, to: &'static str) -> Edit {
    replace(SHAPES, "", from, to)
}

const fn legacy(from: &'static str, to: &'static str) -> Edit {
    replace(LEGACY, "", from, to)
}

/// Each line is one change that somebody could commit.
#[rustfmt::skip]
static CATALOGUE: &[&[Edit]] = &[
    // Files.
    &[Edit::Delete { file: VOUCHER_EVENTS }],
    &[Edit::Delete { file: MARKETING_EVENTS }],
    &[replace(VOUCHER_EVENTS, "", "package holdfast.voucher.v1;", "package holdfast.voucher.v2;"),
      replace(VOUCHER_EVENTS, "message VoucherIssued", "  Voucher voucher", "  holdfast.voucher.v1.Voucher voucher"),
      replace(VOUCHER_EVENTS, "message VoucherCancelled", "  Voucher voucher", "  holdfast.voucher.v1.Voucher voucher")],
    &[legacy("syntax = \"proto2\";\n", "")],
    &[legacy("package catalogue.v1;", "package catalogue.v2;")],
    &[shapes("option csharp_namespace = \"Catalogue\";", "option csharp_namespace = \"Other\";")],
    &[shapes("option csharp_namespace = \"Catalogue\";\n", "")],
    &[shapes("option go_package = \"example.com/catalogue\";", "option go_package = \"example.com/other\";")],
    &[shapes("option go", "option cc_enable_arenas = false;\noption go")],
    &[shapes("option go", "option cc_enable_arenas = true;\noption go")],
    &[shapes("option go", "option cc_generic_services = true;\noption go")],
    &[shapes("option go", "option java_generic_services = true;\noption go")],
    &[shapes("option go", "option java_multiple_files = true;\noption go")],
    &[shapes("option go", "option java_outer_classname = \"X\";\noption go")],
    &[shapes("option go", "option java_package = \"x\";\noption go")],
    &[shapes("option go", "option objc_class_prefix = \"X\";\noption go")],
    &[shapes("option go", "option optimize_for = LITE_RUNTIME;\noption go")],
    &[shapes("option go", "option php_class_prefix = \"X\";\noption go")],
    &[shapes("option go", "option php_metadata_namespace = \"X\";\noption go")],
    &[shapes("option go", "option php_namespace = \"X\";\noption go")],
    &[shapes("option go", "option py_generic_services = true;\noption go")],
    &[shapes("option go", "option ruby_package = \"X\";\noption go")],
    &[shapes("option go", "option swift_prefix = \"X\";\noption go")],
    &[legacy("package", "option java_string_check_utf8 = true;\npackage")],
    &[shapes("option go", "option java_string_check_utf8 = true;\noption go")],
    &[replace(VOUCHER, "", "package", "option java_package = \"dev.holdfast\";\npackage")],
    // Syntax.
    &[replace(FLIP, "", "proto3", "proto2")],
    &[replace(VOUCHER_EVENTS, "", "syntax = \"proto3\"", "syntax = \"proto2\""),
      replace(VOUCHER_EVENTS, "message VoucherIssued", "  Voucher voucher", "  optional Voucher voucher"),
      replace(VOUCHER_EVENTS, "message VoucherCancelled", "  Voucher voucher", "  optional Voucher voucher")],
    // Messages, enums, services, extensions.
    &[replace(VOUCHER_EVENTS, "", "message VoucherCancelled", "message VoucherVoided")],
    &[shapes("message Other {\n    string a = 1;\n  }", "")],
    &[shapes("message Other {", "message Another {")],
    &[shapes("enum Empty {\n    EMPTY_UNSPECIFIED = 0;\n  }", "")],
    &[shapes("    enum Deep {\n      DEEP_UNSPECIFIED = 0;\n    }", ""), shapes("  Inner.Deep deep = 19;\n", "")],
    &[replace(SHAPES, "service Shaper", "service Shaper", "service Former")],
    &[shapes("  string hint = 60002;\n", "")],
    &[shapes("string note = 60001", "string remark = 60001")],
    &[shapes("string note = 60001", "int32 note = 60001")],
    &[shapes("string note = 60001", "repeated string note = 60001")],
    &[legacy("  optional int32 more = 101;\n", "")],
    &[shapes("option go", "option go_package = \"a\";\n//"), shapes("message Subset {", "message Subset {\n  message Inner { string a = 1; }")],
    &[legacy("enum Mood {\n  MOOD_BAD = 0;\n  MOOD_GOOD = 1;\n}", ""), shapes("service Shaper", "enum Mood {\n  MOOD_BAD = 0;\n  MOOD_GOOD = 1;\n}\nservice Shaper"),
      legacy("package catalogue.v1;", "package catalogue.v1;\nimport \"catalogue/v1/shapes.proto\";")],
    // Fields: gone.
    &[replace(VOUCHER, "message Voucher {", "string listing_display_name = 6 [(google.api.field_behavior) = OUTPUT_ONLY];", "")],
    &[replace(VOUCHER, "message Voucher {", "string listing_display_name = 6 [(google.api.field_behavior) = OUTPUT_ONLY];", "reserved 6;")],
    &[replace(VOUCHER, "message Voucher {", "string listing_display_name = 6 [(google.api.field_behavior) = OUTPUT_ONLY];", "reserved \"listing_display_name\";")],
    &[replace(VOUCHER, "message Voucher {", "string listing_display_name = 6 [(google.api.field_behavior) = OUTPUT_ONLY];", "reserved 6;\n  reserved \"listing_display_name\";")],
    &[replace(VOUCHER, "message Voucher {", "host = 4", "host = 40")],
    &[replace(VOUCHER, "message Voucher {", "host = 4", "host = 40"), replace(VOUCHER, "message Voucher {", "string name", "reserved 4;\n  string name")],
    &[shapes("  map<string, int32> counts = 8;\n", "")],
    &[shapes("    string right = 14;\n", "")],
    &[shapes("  oneof lone {\n    string only = 15;\n  }\n", "")],
    // Fields: names.
    &[replace(VOUCHER, "message Voucher {", "string host = 4", "string owner = 4")],
    &[replace(VOUCHER, "message Voucher {", "string host = 4 [", "string host = 4 [json_name = \"owner\", ")],
    &[shapes("map<string, int32> counts", "map<string, int32> tallies")],
    // Fields: types.
    &[replace(MILEAGE, "message MileageAccount {", "int64 balance", "uint64 balance")],
    &[replace(MILEAGE, "message MileageAccount {", "int64 balance", "int32 balance")],
    &[replace(MILEAGE, "message MileageAccount {", "int64 balance", "string balance")],
    &[shapes("int32 small", "uint32 small")], &[shapes("int32 small", "sint32 small")], &[shapes("int32 small", "bool small")],
    &[shapes("int32 small", "Colour small")], &[shapes("int32 small", "Inner small")], &[shapes("int64 big", "fixed64 big")],
    &[shapes("fixed32 flat", "sfixed32 flat")], &[shapes("fixed32 flat", "float flat")], &[shapes("string text", "bytes text")],
    &[shapes("bytes raw", "string raw")], &[shapes("double ratio", "float ratio")], &[shapes("sint32 zigzag", "sint64 zigzag")],
    &[shapes("Inner inner = 10", "Other inner = 10")], &[shapes("Inner inner = 10", "string inner = 10")],
    &[shapes("Colour colour", "Subset.Colour colour")], &[shapes("Colour colour", "Subset.Empty colour")], &[shapes("Colour colour", "int32 colour")],
    &[shapes("Colour colour", "Subset.Colour colour"), shapes("    COLOUR_BLUE = 2;\n", "")],
    &[shapes("map<string, int32> counts", "map<string, int64> counts")], &[shapes("map<string, int32> counts", "map<int32, int32> counts")],
    &[shapes("map<string, Inner> inners", "map<string, Other> inners")],
    // Fields: cardinality and oneofs.
    &[shapes("map<string, int32> counts", "repeated Inner counts")], &[shapes("map<string, int32> counts", "int32 counts")],
    &[shapes("string text = 4", "optional string text = 4")], &[shapes("optional string maybe", "string maybe")],
    &[shapes("string text = 4", "repeated string text = 4")], &[shapes("repeated int32 numbers", "int32 numbers")],
    &[shapes("repeated string words", "map<string, string> words")], &[shapes("Inner inner = 10", "optional Inner inner = 10")],
    &[shapes("  oneof lone {\n    string only = 15;\n  }\n", "  string only = 15;\n")],
    &[shapes("  oneof lone {\n    string only = 15;\n", "  oneof single {\n    string only = 15;\n")],
    &[shapes("    string right = 14;\n  }", "  }\n  string right = 14;")],
    &[shapes("  optional string maybe = 6;", "  oneof maybes {\n    string maybe = 6;\n  }")],
    &[replace(HOLD, "message PlaceHoldRequest {", "oneof slot {", "oneof time {")],
    &[replace(HOLD, "message PlaceHoldRequest {", "int32 units = 5 [", "optional int32 units = 5 [")],
    // Fields: options.
    &[shapes("int64 big = 2;", "int64 big = 2 [jstype = JS_STRING];")], &[shapes("int32 small = 1;", "int32 small = 1 [deprecated = true];")],
    &[shapes("string text = 4;", "string text = 4 [ctype = CORD];")], &[shapes("bytes raw = 5;", "bytes raw = 5 [ctype = STRING_PIECE];")],
    &[replace(MILEAGE, "message MileageAccount {", "int64 balance = 2 [", "int64 balance = 2 [jstype = JS_NUMBER, ")],
    // proto2.
    &[legacy("required string must", "optional string must")], &[legacy("optional string plain", "required string plain")],
    &[legacy("  required string must = 1;\n", "")], &[legacy("message Legacy {", "message Legacy {\n  required string new = 50;")],
    &[legacy("[default = 5]", "[default = 6]")], &[legacy(" [default = 5]", "")], &[legacy("[default = \"x\"]", "[default = \"y\"]")],
    &[legacy("float share = 4 [default = 0.1]", "double share = 4 [default = 0.1]")], &[legacy("[default = 0.1]", "[default = 0.2]")],
    &[legacy("int32 count = 2 [default = 5]", "int64 count = 2 [default = 5]")], &[legacy("[default = MOOD_GOOD]", "[default = MOOD_BAD]")],
    &[legacy("bool on = 6 [default = true]", "int32 on = 6 [default = 1]")], &[legacy("plain = 8", "plain = 8 [default = \"\"]")],
    &[legacy("extensions 100 to 199", "extensions 100 to 150")], &[legacy("extensions 100 to 199;", "extensions 100 to 150;\n  extensions 151 to 199;")],
    &[legacy("  extensions 300;\n", "")],
    // Messages: options and reservations.
    &[shapes("message Subset {", "message Subset {\n  option no_standard_descriptor_accessor = true;")],
    &[shapes("reserved 100 to 110, 120;", "reserved 100 to 109, 120;")], &[shapes("reserved 100 to 110, 120;", "reserved 100 to 105, 106 to 110, 120;")],
    &[shapes("reserved 100 to 110, 120;", "reserved 100 to 200;")], &[shapes("  reserved 100 to 110, 120;\n", "")],
    &[shapes("\"gone\", \"lost\"", "\"gone\"")],
    // Enums.
    &[replace(VOUCHER, "enum State {", "    STATE_CANCELLED = 2;\n", "")], &[replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "STATE_VOID = 2;")],
    &[replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "reserved 2;")], &[replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "reserved \"STATE_CANCELLED\";")],
    &[replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "reserved 2;\n    reserved \"STATE_CANCELLED\";")],
    &[replace(VOUCHER, "enum State {", "STATE_CANCELLED = 2;", "STATE_CANCELLED = 2;\n    STATE_USED = 3;")],
    &[replace(SHAPES, "enum Colour {\n  option", "  COLOUR_PINK = 12;\n", "")], &[replace(SHAPES, "enum Colour {\n  option", "  COLOUR_ROSE = 12;\n  COLOUR_PINK = 12;\n", "  COLOUR_ROSY = 12;\n  COLOUR_PINKY = 12;\n")],
    &[replace(SHAPES, "enum Colour {\n  option", "  COLOUR_ROSE = 12;\n  COLOUR_PINK = 12;\n", "  COLOUR_X = 1;\n  reserved \"COLOUR_ROSE\";\n")],
    &[replace(SHAPES, "enum Colour {\n  option", "COLOUR_BLUE = 2;", "COLOUR_BLUE = 2;\n  COLOUR_AZURE = 2;")],
    &[shapes("reserved 20 to 30, 40;", "reserved 20 to 29, 40;")], &[shapes("reserved 20 to 30, 40;", "reserved 20 to 25, 26 to 30, 40;")],
    &[shapes("  reserved \"COLOUR_GONE\";\n", "")],
    // Services.
    &[replace(SHAPES, "service Shaper", "  rpc Shape(Shapes) returns (Subset);\n", "")], &[replace(VOUCHER, "", "rpc GetVoucher(", "rpc FetchVoucher(")],
    &[replace(SHAPES, "service Shaper", "Shape(Shapes)", "Shape(Subset)")], &[replace(SHAPES, "service Shaper", "returns (Subset)", "returns (Shapes)")],
    &[replace(SHAPES, "service Shaper", "Shape(Shapes)", "Shape(stream Shapes)")], &[replace(SHAPES, "service Shaper", "returns (Subset)", "returns (stream Subset)")],
    &[replace(VIEW, "rpc WatchTrip(", "returns (stream ", "returns (")],
    &[replace(SHAPES, "service Shaper", "IDEMPOTENT", "NO_SIDE_EFFECTS")], &[replace(SHAPES, "service Shaper", "    option idempotency_level = IDEMPOTENT;\n", "")],
    &[replace(VOUCHER, "rpc GetVoucher", "option idempotency_level = NO_SIDE_EFFECTS;", "option idempotency_level = IDEMPOTENT;")],
    // Nothing breaks.
    &[replace(VOUCHER, "message Voucher {", "string name = 1", "string nickname = 30;\n  string name = 1")],
    &[replace(VOUCHER, "", "// A ticket for a reservation.", "// A ticket.\n//\n// For a reservation.")],
    &[shapes("service Shaper {", "service Shaper {\n  rpc Reshape(Shapes) returns (Shapes);")],
];

/// A74: structure is judged as buf judges it, at the same places; every structural rule is tried.
#[test]
fn buf_and_we_find_the_same_at_the_same_places() {
    let ours = Tree::ours();
    let shapes = Tree::shapes();
    let (ours, shapes) = ((ours.compile(), ours), (shapes.compile(), shapes));
    let (next, disagreements, tried) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    let work = || {
        while let Some(edits) = CATALOGUE.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (old, tree) = if edits.iter().all(|edit| shapes.1.has(edit)) { &shapes } else { &ours };
            let new = tree.edited(edits).compile();
            // Backwards too: what one edit adds, its reverse takes away.
            for (old, new) in [(old, &new), (&new, old)] {
                let mine = claims(old, new);
                tried.lock().unwrap().extend(mine.iter().map(|(rule, ..)| rule.clone()));
                let theirs = buf::breaking(old, new);
                if mine != theirs {
                    disagreements.lock().unwrap().push(difference(&describe(edits), &mine, &theirs));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, Into::into) {
            scope.spawn(work);
        }
    });
    let disagreements = disagreements.into_inner().unwrap();
    assert!(
        disagreements.is_empty(),
        "{} of {}:\n{}",
        disagreements.len(),
        2 * CATALOGUE.len(),
        disagreements.join("\n")
    );
    let tried = tried.into_inner().unwrap();
    let untried: Vec<_> = structural().filter(|rule| !tried.contains(*rule)).collect();
    assert!(untried.is_empty(), "no edit breaks {untried:?}");
}

/// Made in all of our contracts at once.
static EVERYWHERE: &[(&str, &str)] = &[
    ("\n  string ", "\n  bytes "),
    ("\n  string ", "\n  repeated string "),
    ("\n  string ", "\n  optional string "),
    ("\n  repeated ", "\n  "),
    ("\n  int32 ", "\n  int64 "),
    ("\n  int32 ", "\n  uint32 "),
    (" = 1 [", " = 901 ["),
    ("_UNSPECIFIED = 0;", "_UNKNOWN = 0;"),
    ("\n  rpc ", "\n  rpc Do"),
    ("idempotency_level = IDEMPOTENT", "idempotency_level = NO_SIDE_EFFECTS"),
    ("returns (Get", "returns (stream Get"),
];

#[test]
fn buf_and_we_find_the_same_when_every_contract_changes_at_once() {
    let tree = Tree::ours();
    let old = tree.compile();
    for (from, to) in EVERYWHERE {
        let (edited, count) = tree.edited_everywhere(from, to);
        let new = edited.compile();
        let (mine, theirs) = (claims(&old, &new), buf::breaking(&old, &new));
        assert!(mine.len() >= count && count > 0, "{count} times {from:?}, but {} findings", mine.len());
        assert!(mine == theirs, "{}", difference(&format!("{from:?} to {to:?}"), &mine, &theirs));
    }
}

/// A74: the gate is not only our word: buf finds the same between what was released and the working copy.
#[test]
fn buf_and_we_find_the_same_since_every_supported_release() {
    let baseline = Baseline::read(&ours().baseline()).unwrap();
    for release in baseline.supported() {
        let path = ours().baseline().join(format!("{}.binpb", release.entry.version));
        let old = fs::read(path).unwrap();
        let (mine, theirs) = (claims(&old, FILE_DESCRIPTOR_SET), buf::breaking(&old, FILE_DESCRIPTOR_SET));
        assert!(mine == theirs, "{}", difference(&release.entry.version.to_string(), &mine, &theirs));
    }
}

fn structural() -> impl Iterator<Item = &'static str> {
    RULES.iter().filter(|rule| matches!(rule.tier, Tier::WireJson | Tier::Source)).map(|rule| rule.id)
}

fn claims(old: &[u8], new: &[u8]) -> Vec<Claim> {
    let findings = compare(&decode(old), &decode(new));
    let mut claims: Vec<_> =
        findings.iter().map(buf::claim).filter(|(rule, ..)| structural().any(|id| id == rule)).collect();
    claims.sort();
    claims
}

fn difference(what: &str, ours: &[Claim], theirs: &[Claim]) -> String {
    let only = |these: &[Claim], those: &[Claim]| -> Vec<Claim> {
        these.iter().filter(|claim| !those.contains(claim)).cloned().collect()
    };
    format!("{}\n  only we: {:?}\n  only buf: {:?}", what, only(ours, theirs), only(theirs, ours))
}
