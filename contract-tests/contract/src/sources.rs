//! Contracts compiled from their sources, as the build of the crate `proto` does it, without protoc.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

use crate::baseline::OURS;

/// `.proto` files by the path that imports name.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<String, Arc<str>>);

impl Sources {
    /// Adds a file by its path under `proto/`; those of others lie in `vendor/` there.
    pub fn add(&mut self, path: &str, text: &str) {
        self.0.insert(path.strip_prefix("vendor/").unwrap_or(path).to_owned(), text.into());
    }

    /// A descriptor set with imports and source information.
    ///
    /// # Errors
    ///
    /// A file does not compile, or imports one that is missing.
    pub fn compile(&self) -> Result<Vec<u8>, Error> {
        let mut resolver = ChainFileResolver::new();
        resolver.add(self.clone());
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_source_info(true).include_imports(true);
        compiler.open_files(self.0.keys().filter(|path| path.starts_with(OURS)))?;
        Ok(compiler.encode_file_descriptor_set())
    }
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        File::from_source(name, self.0.get(name).ok_or_else(|| Error::file_not_found(name))?)
    }

    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }
}

/// The same set without comments and places, which compilers write each in its own way.
///
/// # Errors
///
/// The bytes are no descriptor set.
///
/// # Panics
///
/// Never: `prost-reflect` knows the descriptor of descriptor sets.
pub fn without_source_info(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    let descriptor = DescriptorPool::global().get_message_by_name("google.protobuf.FileDescriptorSet");
    // As a dynamic message: it keeps the options that this program does not know.
    let mut set = DynamicMessage::decode(descriptor.expect("a well-known type"), bytes)?;
    let files = set.get_field_by_name_mut("file").and_then(Value::as_list_mut).expect("a set holds files");
    for file in files.iter_mut().filter_map(Value::as_message_mut) {
        file.clear_field_by_name("source_code_info");
    }
    Ok(set.encode_to_vec())
}
