//! `docs/requirements.md` says what the tests say: which of them proves which requirement.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

/// How many requirements each source system has.
const SYSTEMS: [(char, u32); 5] = [('A', 74), ('B', 25), ('C', 28), ('D', 38), ('E', 33)];
/// What may stand in the place of tests.
const WORDS: [&str; 3] = ["not yet", "superseded", "document"];
/// Set to write the page's third column anew.
const WRITE: &str = "HOLDFAST_WRITE";

/// Which tests name which requirement in their doc comments, as `file` · `test`.
type Proofs = BTreeMap<String, BTreeSet<String>>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate of the workspace").to_owned()
}

/// Rust files that hold tests.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = [
        "contract-tests/tests",
        "contract-tests/contract",
        DEMONSTRATIONS,
        "contract-tests/provider",
        "contract-tests/recorder",
        "mesh",
        "proto/src",
        "services",
    ]
    .map(|folder| root.join(folder))
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The requirements a text names: `A5`, and each of a range like `A1–A10`.
fn named(text: &str) -> Vec<String> {
    static ID: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b([A-E])([1-9][0-9]?)\b(?:–([A-E])([1-9][0-9]?)\b)?").expect("a pattern"));
    let mut ids = Vec::new();
    for id in ID.captures_iter(text) {
        let (system, first) = (&id[1], id[2].parse::<u32>().expect("digits"));
        let last = id.get(4).map_or(first, |last| last.as_str().parse().expect("digits"));
        assert!(id.get(3).is_none_or(|other| other.as_str() == system), "a range within one system: {}", &id[0]);
        ids.extend((first..=last).map(|number| format!("{system}{number}")));
    }
    ids
}

/// Where programs are proofs too: each `run` there is a demonstration, which fails if it does not hold.
const DEMONSTRATIONS: &str = "contract-tests/pressure";

/// Adds the proofs of one file.
fn read(file: &str, text: &str, proofs: &mut Proofs) {
    let demonstrates = file.starts_with(DEMONSTRATIONS);
    let (mut comment, mut is_test) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push_str(words);
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            is_test |= demonstrates && line.starts_with("pub(crate) async fn run(");
            let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some((name, _)) = name.filter(|_| is_test).and_then(|name| name.split_once('(')) {
                for id in named(&comment) {
                    proofs.entry(id).or_default().insert(format!("`{file}` · `{name}`"));
                }
            }
            (comment, is_test) = (String::new(), false);
        }
    }
}

fn proofs(root: &Path) -> Proofs {
    let mut proofs = Proofs::new();
    for path in sources(root) {
        let file = path.strip_prefix(root).expect("below the root").display().to_string();
        read(&file, &fs::read_to_string(&path).expect("a text"), &mut proofs);
    }
    proofs
}

/// The page with its third column as it should be, and the requirements in its order.
fn written(page: &str, proofs: &Proofs) -> (String, Vec<String>) {
    let (mut text, mut ids) = (String::new(), Vec::new());
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, what, proof] = cells[..] else {
            writeln!(text, "{line}").expect("a String");
            continue;
        };
        if named(id) != [id] {
            writeln!(text, "{line}").expect("a String");
            continue;
        }
        ids.push(id.to_owned());
        let proof = match proofs.get(id) {
            Some(tests) => tests.iter().cloned().collect::<Vec<_>>().join("<br>"),
            None if WORDS.iter().any(|word| proof.starts_with(word)) => proof.to_owned(),
            None => "not yet".to_owned(),
        };
        writeln!(text, "| {id} | {what} | {proof} |").expect("a String");
    }
    (text, ids)
}

/// A44: every requirement is listed once, with every test that proves it, or with an honest word.
#[test]
fn every_requirement_is_listed_with_its_proof() {
    let root = repository();
    let page = root.join("docs/requirements.md");
    let text = fs::read_to_string(&page).expect("the page");
    let proofs = proofs(&root);
    let (expected, ids) = written(&text, &proofs);
    let all: Vec<String> = SYSTEMS
        .iter()
        .flat_map(|(system, count)| (1..=*count).map(move |number| format!("{system}{number}")))
        .collect();
    assert_eq!(ids, all, "each requirement once, in order");
    let strangers: Vec<_> = proofs.keys().filter(|id| !all.contains(id)).collect();
    assert!(strangers.is_empty(), "tests name requirements there are not: {strangers:?}");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&page, &expected).expect("the page is written");
    } else {
        assert!(text == expected, "docs/requirements.md is out of date; write it anew with {WRITE}=1");
    }
    for (system, count) in SYSTEMS {
        let proven = proofs.keys().filter(|id| id.starts_with(system)).count();
        println!("{system}: {proven} of {count} proven by tests");
    }
}

#[test]
fn a_test_proves_what_its_comment_names() {
    let mut proofs = Proofs::new();
    let text =
        "/// A1–A3, B7: words.\n#[tokio::test]\nasync fn one() {\n/// C1: no test.\nfn two() {\n#[test]\nfn three() {";
    read("x.rs", text, &mut proofs);
    assert_eq!(proofs.keys().collect::<Vec<_>>(), ["A1", "A2", "A3", "B7"]);
    assert_eq!(proofs["B7"], BTreeSet::from(["`x.rs` · `one`".to_owned()]));
    let program = format!("{DEMONSTRATIONS}/y.rs");
    read(
        &program,
        "/// C2: shown.\npub(crate) async fn run(it: Arguments) {\n/// C3: no.\nasync fn walk() {",
        &mut proofs,
    );
    assert_eq!(proofs["C2"], BTreeSet::from([format!("`{program}` · `run`")]));
    assert!(!proofs.contains_key("C3"));
    proofs.remove("C2");
    let page =
        "| ID | asks for | proof |\n| B7 | x | not yet |\n| C1 | y | `gone.rs` · `old` |\n| C2 | z | document: w |\n";
    let (text, ids) = written(page, &proofs);
    assert_eq!(ids, ["B7", "C1", "C2"]);
    assert_eq!(
        text,
        "| ID | asks for | proof |\n| B7 | x | `x.rs` · `one` |\n| C1 | y | not yet |\n| C2 | z | document: w |\n"
    );
}
