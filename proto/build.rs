//! Compiles the contracts without protoc and writes, besides the usual code, what their options say.
//!
//! From one set of encoded descriptors come: messages, clients and servers (`contracts.rs`), validation and event rules
//! (`rules.rs`), the table of methods (`methods.rs`), every message by name (`reencode.rs`) and the descriptors themselves (`descriptors.binpb`).

#[path = "build/options.rs"]
mod options;
#[path = "build/rules.rs"]
mod rules;
#[path = "build/validation.rs"]
mod validation;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for folder in ["holdfast", "vendor", "build"] {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
    }

    let encoded = compile(&root)?;
    fs::write(out.join("descriptors.binpb"), &encoded)?;
    let pool = DescriptorPool::decode(encoded.as_slice()).context("the compiled descriptors cannot be read")?;

    fs::write(out.join("methods.rs"), rules::methods(&pool)?)?;
    fs::write(out.join("rules.rs"), rules::messages(&pool)?)?;
    fs::write(out.join("reencode.rs"), rules::reencode(&pool))?;
    generate(&encoded, &pool, &out)
}

/// Encoded descriptors of all our contracts and what they import.
fn compile(root: &Path) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    collect(&root.join("holdfast"), &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new([root.to_owned(), root.join("vendor")])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    Ok(compiler.encode_file_descriptor_set())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

fn generate(encoded: &[u8], pool: &DescriptorPool, out: &Path) -> Result<()> {
    let mut set = FileDescriptorSet::decode(encoded)?;
    set.file.retain(|file| {
        let package = file.package();
        matches!(package, "google.type" | "google.protobuf")
            || (package.starts_with("holdfast.") && package != options::PACKAGE)
    });
    let mut config = prost_build::Config::new();
    config.out_dir(out).include_file("contracts.rs").skip_debug(rules::redacted(pool)).btree_map(["."]);
    tonic_prost_build::configure().codec_path("crate::codec::Codec").compile_fds_with_config(set, config)?;
    Ok(())
}
