//! The guide for adding a service names files as they are.

use std::path::Path;

#[test]
fn every_file_that_the_guide_names_exists() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = std::fs::read_to_string(docs.join("adding-a-service.md")).expect("the guide");
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20, "the guide lost its links");
    for link in links {
        assert!(docs.join(link).exists(), "{link}");
    }
}
