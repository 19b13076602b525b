//! A set of descriptors, decoded with its custom options, or a reason why it cannot be trusted.

use std::{fs, io, path::Path};

use prost::Message;
use prost_reflect::{
    DescriptorError, DescriptorPool, EnumDescriptor, ExtensionDescriptor, FileDescriptor, MessageDescriptor,
    ServiceDescriptor,
};
use prost_types::FileDescriptorSet;

/// Why a descriptor set cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The file cannot be read.
    #[error("the descriptor set cannot be read")]
    Unreadable(#[source] io::Error),
    /// The bytes are no descriptor set.
    #[error("the bytes are no descriptor set")]
    Malformed(#[source] prost::DecodeError),
    /// It describes nothing, so nothing could break.
    #[error("the descriptor set holds no file of those to compare")]
    Empty,
    /// Neither proto2 nor proto3.
    #[error("{file} uses an edition; only proto2 and proto3 can be compared")]
    Edition {
        /// The file's path.
        file: String,
    },
    /// The descriptors contradict each other, or an import is missing.
    #[error("the descriptors do not fit together (a set must hold its imports too)")]
    Unlinked(#[source] DescriptorError),
}

/// Decoded descriptors, and which of their files are compared.
#[derive(Debug)]
pub struct DescriptorSet {
    pool: DescriptorPool,
    only: String,
}

impl DescriptorSet {
    /// Decodes a set, to compare the files whose path begins with `only`; the others are imports.
    ///
    /// # Errors
    ///
    /// The bytes are no set, hold no such file, lack an import, or use an edition.
    pub fn decode(bytes: &[u8], only: &str) -> Result<Self, SetError> {
        let shape = FileDescriptorSet::decode(bytes).map_err(SetError::Malformed)?;
        // Asked before the pool is built: prost-reflect 0.16 panics on an edition.
        if let Some(file) = shape.file.iter().find(|file| file.syntax() == "editions") {
            return Err(SetError::Edition { file: file.name().to_owned() });
        }
        if !shape.file.iter().any(|file| file.name().starts_with(only)) {
            return Err(SetError::Empty);
        }
        let pool = DescriptorPool::decode(bytes).map_err(SetError::Unlinked)?;
        Ok(Self { pool, only: only.to_owned() })
    }

    /// Reads and decodes a file.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], or the file cannot be read.
    pub fn read(path: &Path, only: &str) -> Result<Self, SetError> {
        Self::decode(&fs::read(path).map_err(SetError::Unreadable)?, only)
    }

    /// The names and options behind the set.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = FileDescriptor> + '_ {
        self.pool.files().filter(|file| self.compares(file))
    }

    /// Nested ones and map entries too.
    pub(crate) fn messages(&self) -> impl Iterator<Item = MessageDescriptor> + '_ {
        self.pool.all_messages().filter(|message| self.compares(&message.parent_file()))
    }

    pub(crate) fn enums(&self) -> impl Iterator<Item = EnumDescriptor> + '_ {
        self.pool.all_enums().filter(|descriptor| self.compares(&descriptor.parent_file()))
    }

    pub(crate) fn extensions(&self) -> impl Iterator<Item = ExtensionDescriptor> + '_ {
        self.pool.all_extensions().filter(|extension| self.compares(&extension.parent_file()))
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceDescriptor> + '_ {
        self.pool.services().filter(|service| self.compares(&service.parent_file()))
    }

    pub(crate) fn message_by_name(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name).filter(|message| self.compares(&message.parent_file()))
    }

    pub(crate) fn enum_by_name(&self, name: &str) -> Option<EnumDescriptor> {
        self.pool.get_enum_by_name(name).filter(|descriptor| self.compares(&descriptor.parent_file()))
    }

    pub(crate) fn service_by_name(&self, name: &str) -> Option<ServiceDescriptor> {
        self.pool.get_service_by_name(name).filter(|service| self.compares(&service.parent_file()))
    }

    fn compares(&self, file: &FileDescriptor) -> bool {
        file.name().starts_with(&self.only)
    }
}
