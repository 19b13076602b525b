//! The comments above things, where a set has source information.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

use crate::DescriptorSet;

/// By file and path.
pub(crate) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub(crate) fn of(set: &DescriptorSet) -> Self {
        let mut comments = HashMap::new();
        for file in set.files() {
            let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
            for location in &info.location {
                let key = (file.name().to_owned(), location.path.clone());
                comments.insert(key, plain(location.leading_comments()));
            }
        }
        Self(comments)
    }

    /// None if the set has no source information for it; else perhaps empty.
    pub(crate) fn on(&self, file: &FileDescriptor, path: &[i32]) -> Option<&str> {
        self.0.get(&(file.name().to_owned(), path.to_vec())).map(String::as_str)
    }
}

/// Without the blank that follows `//`.
fn plain(comment: &str) -> String {
    let lines: Vec<&str> = comment.trim_end().lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n").trim().to_owned()
}
