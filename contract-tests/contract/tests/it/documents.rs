//! What is written for people is what the program says.

use std::{collections::BTreeSet, fs};

use contract::{DescriptorSet, RULES, baseline::OURS, explain, reference};
use proto::contract::FILE_DESCRIPTOR_SET;

use crate::{
    edits::Edit,
    repository::{ADDED, NARROWED, REFUSED, RENAMED, Repository, edited, expect_document, ours},
};

/// What `check` prints of our contracts with some edits, released as 0.1.0.
fn output(edits: &[Edit], code: i32) -> String {
    let repository = Repository::empty();
    contract::release::first(&repository.project(), &crate::repository::cut(&edited(&[]), "0.1.0")).unwrap();
    repository.save(&edited(edits));
    repository.contract(&["check", "new.binpb"], code)
}

/// A74: both examples, as the program judges them.
#[test]
fn the_examples_of_the_guide_are_what_the_program_prints() {
    let path = ours().root().join("docs/changing-a-contract.md");
    let mut text = fs::read_to_string(&path).unwrap();
    for (marker, edits, code) in [("passes", &[ADDED, REFUSED], 0), ("stopped", &[NARROWED, RENAMED], 1)] {
        let opening = format!("<!-- output: {marker} -->\n\n```text\n");
        let start = text.find(&opening).unwrap() + opening.len();
        let end = start + text[start..].find("```").unwrap();
        text.replace_range(start..end, &output(edits, code));
    }
    expect_document(&path, &text);
}

fn today() -> DescriptorSet {
    DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).unwrap()
}

#[test]
fn the_reference_is_what_the_contracts_say() {
    let folder = ours().reference();
    if std::env::var_os("HOLDFAST_WRITE").is_some() {
        reference::write(&folder, &today()).unwrap();
    }
    let stale = reference::stale(&folder, &today()).unwrap();
    assert!(stale.is_empty(), "{stale:?} are out of date; write them anew with HOLDFAST_WRITE=1");
}

#[test]
fn a_page_that_changed_is_missing_or_too_many_is_stale() {
    let folder = tempfile::tempdir().unwrap();
    reference::write(folder.path(), &today()).unwrap();
    assert!(reference::stale(folder.path(), &today()).unwrap().is_empty());
    fs::write(folder.path().join("README.md"), "changed").unwrap();
    fs::write(folder.path().join("old.md"), "too many").unwrap();
    fs::remove_file(folder.path().join("holdfast.voucher.v1.md")).unwrap();
    let stale = reference::stale(folder.path(), &today()).unwrap();
    assert_eq!(stale, ["README.md", "holdfast.voucher.v1.md", "old.md"]);
    reference::write(folder.path(), &today()).unwrap();
    assert!(!folder.path().join("old.md").exists());
}

/// Headings, as GitHub names them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings.map(|heading| heading.to_lowercase().replace('.', "").replace(' ', "-")).collect()
}

#[test]
fn links_between_the_pages_lead_somewhere_and_nothing_is_left_out() {
    let pages = reference::pages(&today());
    let mut count = 0;
    for (name, page) in &pages {
        let anchors = anchors(page);
        let distinct: BTreeSet<&String> = anchors.iter().collect();
        assert_eq!(distinct.len(), anchors.len(), "{name} has two headings of one name");
        for link in
            page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.starts_with(".."))
        {
            let (to, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if to.is_empty() { name } else { to };
            let target = pages.get(to).unwrap_or_else(|| panic!("{name} leads to {link}"));
            assert!(anchor.is_empty() || self::anchors(target).iter().any(|it| it == anchor), "{name} leads to {link}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
    let all = pages.values().cloned().collect::<String>();
    for service in today().pool().services() {
        for rpc in service.methods() {
            assert!(all.contains(&format!("\n### {}\n", rpc.name())), "{}", rpc.full_name());
        }
    }
}

#[test]
fn every_rule_is_explained() {
    for rule in RULES {
        let guide = explain(rule);
        assert!(!guide.hurts.is_empty() && !guide.ways_out.is_empty(), "{}", rule.id);
        assert_eq!(guide.hurts == "nobody", !rule.tier.breaks(), "{}", rule.id);
    }
    let text = Repository::empty().contract(&["explain", "SEM_INPUT_RULE_NARROWED"], 0);
    assert!(text.contains("hurts     callers: requests that were accepted"), "{text}");
    let text = Repository::empty().contract(&["explain", "FIELD_SAME_NAME"], 0);
    assert!(text.contains("waive     programs already built would misread each other"), "{text}");
    Repository::empty().contract(&["explain", "SEM_*"], 2);
}
