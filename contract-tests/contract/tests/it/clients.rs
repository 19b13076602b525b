//! What other languages call with: how their calls behave, and what a package of theirs holds.

use std::{collections::BTreeMap, fs, path::Path};

use contract::{
    DescriptorSet,
    baseline::OURS,
    clients::{self, Language},
    service_config,
};
use proto::contract::{FILE_DESCRIPTOR_SET, METHODS};
use serde_json::{Value, json};

use crate::{
    edits::replace,
    repository::{VOUCHER, edited, expect_document, ours},
};

fn set(bytes: &[u8]) -> DescriptorSet {
    DescriptorSet::decode(bytes, OURS).unwrap()
}

/// What a service config says of each RPC, by its path.
fn methods(bytes: &[u8]) -> BTreeMap<String, Value> {
    let config: Value = serde_json::from_str(&service_config::json(&set(bytes))).unwrap();
    let mut methods = BTreeMap::new();
    for config in config["methodConfig"].as_array().unwrap() {
        for name in config["name"].as_array().unwrap() {
            let path = format!("/{}/{}", name["service"].as_str().unwrap(), name["method"].as_str().unwrap());
            assert!(methods.insert(path.clone(), config.clone()).is_none(), "{path} is configured twice");
        }
    }
    methods
}

#[test]
fn no_rpc_takes_longer_than_its_server_lets_it() {
    let methods = methods(FILE_DESCRIPTOR_SET);
    assert_eq!(methods.len(), METHODS.len());
    for rule in METHODS {
        let timeout = methods[rule.path]["timeout"].as_str().unwrap().strip_suffix('s').unwrap();
        let timeout_ms = timeout.parse::<f64>().unwrap() * 1000.0;
        assert!((timeout_ms - f64::from(rule.deadline.max_ms)).abs() < 0.5, "{}: {timeout} s", rule.path);
    }
}

#[test]
fn only_what_is_safe_to_repeat_is_repeated_and_only_while_unavailable() {
    const GET: &str = "/holdfast.voucher.v1.VoucherService/GetVoucher";
    let retry = &methods(FILE_DESCRIPTOR_SET)[GET]["retryPolicy"];
    assert_eq!(retry["retryableStatusCodes"], json!(["UNAVAILABLE"]));
    let undeclared = replace(VOUCHER, "rpc GetVoucher(", "    option idempotency_level = NO_SIDE_EFFECTS;\n", "");
    let methods = methods(&edited(&[undeclared]));
    let unsafe_methods: Vec<_> = methods.iter().filter(|(_, config)| config.get("retryPolicy").is_none()).collect();
    assert_eq!(unsafe_methods.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), [GET]);
}

/// That it compiles is tested with the clients of the other languages.
#[test]
fn a_java_package_holds_the_contracts_and_the_last_release_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let generate = || clients::generate(&ours(), &set(FILE_DESCRIPTOR_SET), Language::Java, folder.path());
    generate().unwrap();
    let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
    let voucher = read(&format!("src/main/protobuf/{VOUCHER}"));
    assert!(voucher.contains("\noption java_package = \"dev.holdfast.voucher.v1\";\n"), "{voucher}");
    let last = contract::Baseline::read(&ours().baseline()).unwrap().releases.pop().unwrap();
    assert!(read("pom.xml").contains(&format!("<version>{}</version>", last.entry.version)));
    assert!(read("src/main/resources/dev/holdfast/service_config.json").contains("CreateReservation"));
    let error = generate().unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
}

/// The fenced text after a marker of its own, the program's name.
fn example(text: &mut String, language: &str, source: &Path) {
    let name = source.file_name().unwrap().to_str().unwrap();
    let opening = format!("<!-- {name} -->\n\n```{language}\n");
    let start = text.find(&opening).unwrap() + opening.len();
    let end = start + text[start..].find("```").unwrap();
    text.replace_range(start..end, &fs::read_to_string(source).unwrap());
}

#[test]
fn the_examples_of_the_guide_are_the_programs_that_are_run() {
    let path = ours().root().join("docs/clients.md");
    let mut text = fs::read_to_string(&path).unwrap();
    for (language, fence, file) in [
        (Language::Python, "python", "example.py"),
        (Language::Python, "python", "over_tls.py"),
        (Language::TypeScript, "ts", "example.ts"),
        (Language::Go, "go", "example/main.go"),
    ] {
        example(&mut text, fence, &ours().client(language).join(file));
    }
    expect_document(&path, &text);
}
