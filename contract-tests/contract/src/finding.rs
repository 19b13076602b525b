//! What is found, and where.

use std::fmt;

use prost_reflect::FileDescriptor;
use serde::Serialize;

use crate::rules::Rule;

/// A place in a file; lines and columns count from 1, the end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Span {
    pub start_line: i32,
    pub start_column: i32,
    pub end_line: i32,
    pub end_column: i32,
}

impl Span {
    /// From the three or four numbers of a descriptor, which count from 0.
    fn of(numbers: &[i32]) -> Option<Self> {
        let (start_line, start_column, end_line, end_column) = match *numbers {
            [line, start, end] => (line, start, line, end),
            [start_line, start, end_line, end] => (start_line, start, end_line, end),
            _ => return None,
        };
        Some(Self {
            start_line: start_line + 1,
            start_column: start_column + 1,
            end_line: end_line + 1,
            end_column: end_column + 1,
        })
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: &'static Rule,
    /// The file in the new set; none if the file is gone.
    pub file: Option<String>,
    /// Where in that file; none if the set has no source information for it.
    pub span: Option<Span>,
    /// Full name of what changed.
    pub symbol: String,
    /// What changed, in one sentence.
    pub message: String,
}

impl Finding {
    /// What a waiver calls it: `<symbol>::<rule>`. Whatever else breaks the same rule at the same symbol has it too.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}::{}", self.symbol, self.rule.id)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.as_deref().unwrap_or("(gone)"))?;
        if let Some(span) = self.span {
            write!(f, ":{}:{}", span.start_line, span.start_column)?;
        }
        write!(f, ": {} [{}] {}: {}", self.rule.id, self.rule.tier.as_str(), self.symbol, self.message)
    }
}

/// A place in the new set.
#[derive(Clone, Debug, Default)]
pub(crate) struct At {
    pub(crate) file: Option<String>,
    pub(crate) span: Option<Span>,
}

impl At {
    /// The whole file: there is no better place in it.
    pub(crate) fn file(file: &FileDescriptor) -> Self {
        Self { file: Some(file.name().to_owned()), span: None }
    }

    /// The descriptor at a path, e.g. the third message of the file.
    pub(crate) fn path(file: &FileDescriptor, path: &[i32]) -> Self {
        Self { span: span_of(file, path), ..Self::file(file) }
    }

    /// A part of a descriptor, e.g. one option, if the file spells it out; else the descriptor.
    pub(crate) fn part(file: &FileDescriptor, path: &[i32], part: &[i32]) -> Self {
        let whole = [path, part].concat();
        let span = span_of(file, &whole).or_else(|| span_of(file, path));
        Self { span, ..Self::file(file) }
    }

    /// An option of a descriptor, however deep the file spells it out; else the descriptor.
    pub(crate) fn option(file: &FileDescriptor, path: &[i32], option: &[i32]) -> Self {
        let whole = [path, option].concat();
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let locations = info.map_or(&[][..], |info| &info.location);
        let location = locations.iter().find(|location| location.path.starts_with(&whole));
        let span = location.and_then(|location| Span::of(&location.span)).or_else(|| span_of(file, path));
        Self { span, ..Self::file(file) }
    }
}

fn span_of(file: &FileDescriptor, path: &[i32]) -> Option<Span> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    Span::of(&info.location.iter().find(|location| location.path == path)?.span)
}
