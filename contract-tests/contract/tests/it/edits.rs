//! Edits of our own `.proto` files, compiled in memory.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::DescriptorSet;
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

/// One change of one file.
#[derive(Clone, Copy)]
pub(crate) enum Edit {
    /// The first `from` behind `after` becomes `to`.
    Replace {
        file: &'static str,
        after: &'static str,
        from: &'static str,
        to: &'static str,
    },
    Delete {
        file: &'static str,
    },
}

pub(crate) const SHAPES: &str = "catalogue/v1/shapes.proto";
pub(crate) const LEGACY: &str = "catalogue/v1/legacy.proto";
pub(crate) const FLIP: &str = "catalogue/v1/flip.proto";

pub(crate) const fn replace(file: &'static str, after: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit::Replace { file, after, from, to }
}

/// What was changed, for a failure's text.
pub(crate) fn describe(edits: &[Edit]) -> String {
    let describe = |edit: &Edit| match edit {
        Edit::Replace { file, from, to, .. } => format!("{file}: {from:?} to {to:?}"),
        Edit::Delete { file } => format!("{file} deleted"),
    };
    edits.iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// Some `.proto` files.
#[derive(Clone)]
pub(crate) struct Tree {
    sources: BTreeMap<String, Arc<str>>,
    parsed: Arc<BTreeMap<String, File>>,
}

impl Tree {
    /// Our contracts and what they import.
    pub(crate) fn ours() -> Self {
        let name = |path: String| path.strip_prefix("vendor/").map_or(path.clone(), str::to_owned);
        Self::of(ours_on_disk().into_iter().map(|(path, text)| (name(path), text)).collect())
    }

    /// Files with what our contracts do not use.
    pub(crate) fn shapes() -> Self {
        let shapes = (SHAPES.to_owned(), include_str!("fixture/shapes.proto").into());
        let legacy = (LEGACY.to_owned(), include_str!("fixture/legacy.proto").into());
        let flip = (FLIP.to_owned(), include_str!("fixture/flip.proto").into());
        Self::of(BTreeMap::from([shapes, legacy, flip]))
    }

    /// Whether it holds the file to edit.
    pub(crate) fn has(&self, edit: &Edit) -> bool {
        let (Edit::Replace { file, .. } | Edit::Delete { file }) = edit;
        self.sources.contains_key(*file)
    }

    fn of(sources: BTreeMap<String, Arc<str>>) -> Self {
        let parsed =
            sources.iter().map(|(name, text)| (name.clone(), File::from_source(name, text).unwrap())).collect();
        Self { sources, parsed: Arc::new(parsed) }
    }

    /// The bytes of a descriptor set, imports and source information included.
    pub(crate) fn compile(&self) -> Vec<u8> {
        let mut resolver = ChainFileResolver::new();
        resolver.add(self.clone());
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_source_info(true).include_imports(true);
        compiler.open_files(self.sources.keys()).unwrap();
        compiler.encode_file_descriptor_set()
    }

    /// Every `from` of our services' contracts becomes `to`; also, how many there were.
    pub(crate) fn edited_everywhere(&self, from: &str, to: &str) -> (Self, usize) {
        let mut edited = self.clone();
        let mut count = 0;
        let is_edited = |name: &str| name.starts_with("holdfast/") && !name.starts_with("holdfast/options/");
        for (_, text) in edited.sources.iter_mut().filter(|(name, _)| is_edited(name)) {
            count += text.matches(from).count();
            *text = text.replace(from, to).into();
        }
        (edited, count)
    }

    #[track_caller]
    pub(crate) fn edited(&self, edits: &[Edit]) -> Self {
        let mut edited = self.clone();
        for edit in edits {
            match *edit {
                Edit::Delete { file } => {
                    edited.sources.remove(file).unwrap_or_else(|| panic!("no file {file}"));
                }
                Edit::Replace { file, after, from, to } => {
                    let text = &edited.sources[file];
                    let start = text.find(after).unwrap_or_else(|| panic!("{file} has no {after:?}"));
                    let at =
                        text[start..].find(from).unwrap_or_else(|| panic!("{file} has no {from:?} behind {after:?}"));
                    let (head, tail) = text.split_at(start + at);
                    let changed = format!("{head}{to}{}", &tail[from.len()..]);
                    edited.sources.insert(file.to_owned(), changed.into());
                }
            }
        }
        edited
    }
}

impl FileResolver for Tree {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let source = self.sources.get(name).ok_or_else(|| Error::file_not_found(name))?;
        match self.parsed.get(name) {
            Some(parsed) if parsed.source() == Some(source) => Ok(parsed.clone()),
            _ => File::from_source(name, source),
        }
    }

    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }
}

pub(crate) fn decode(bytes: &[u8]) -> DescriptorSet {
    DescriptorSet::decode(bytes, "").unwrap()
}

/// Our contracts and what they import, by their paths under `proto/`.
pub(crate) fn ours_on_disk() -> BTreeMap<String, Arc<str>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut sources = BTreeMap::new();
    collect(&root, &root.join("holdfast"), &mut sources);
    collect(&root, &root.join("vendor"), &mut sources);
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut BTreeMap<String, Arc<str>>) {
    let paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.insert(name, fs::read_to_string(&path).unwrap().into());
        }
    }
}
