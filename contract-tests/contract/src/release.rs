//! Releasing: the only way to move the baseline.
//!
//! A release adds a descriptor set to the baseline, keeps the waivers that it ships with it, and writes vectors and changelog anew.
//! It is made from what is committed, so that anybody can make the same bytes again.

use std::{fs, io};

use crate::{
    Baseline, BaselineError, ConsumersError, DescriptorSet, Git, GitError, Judgement, Project, SetError, Surface,
    Version, Waiver, WaiversError,
    baseline::{self, Entry, OURS},
    changelog, consumers,
    digest::sha256,
    judge,
    project::SOURCES,
    sources::{Sources, without_source_info},
    vectors, waivers,
};

/// Why nothing is released.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields: what they name, the cause")]
pub enum ReleaseError {
    /// The released contracts cannot be read.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// The exceptions cannot be read.
    #[error(transparent)]
    Waivers(#[from] WaiversError),
    /// What consumers expect cannot be read.
    #[error(transparent)]
    Consumers(#[from] ConsumersError),
    /// Today's contracts cannot be compared.
    #[error("the contracts to release cannot be compared")]
    Set(#[source] SetError),
    /// Something breaks, a waiver covers nothing, or a consumer misses something.
    #[error("something breaks that is not waived, a waiver is idle, or a consumer misses something")]
    Stopped(Box<Judgement>),
    /// The version is too small for what the release holds.
    #[error("{version} is too small: at least {least} must follow {newest}")]
    Small { version: Version, least: Version, newest: Version },
    /// A waiver ends before this release.
    #[error("the waiver of {id} expires with {expires}, before {version}")]
    Expired { id: String, expires: Version, version: Version },
    /// The first release was asked for, but there is one.
    #[error("there is a baseline already")]
    NotFirst,
    /// It cannot be retired.
    #[error("{version} cannot be retired: it is no release, or the last one")]
    NotRetirable { version: Version },
    /// No calendar day.
    #[error("{0:?} is no date: YYYY-MM-DD")]
    Date(String),
    /// Git does not answer.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The sources do not compile.
    #[error("the sources in git do not compile")]
    Compile(#[source] protox::Error),
    /// What is committed is not what was built.
    #[error("the contracts of this build are not those of the last commit: commit them, and build again")]
    Uncommitted,
    /// A file cannot be written.
    #[error("the release cannot be written")]
    Write(#[source] io::Error),
}

/// What is released, when.
#[derive(Debug)]
pub struct Cut<'a> {
    /// The descriptor set, imports and options included.
    pub bytes: &'a [u8],
    /// As what.
    pub version: Version,
    /// The day, `YYYY-MM-DD`.
    pub date: &'a str,
    /// The git tree of the sources.
    pub tree: &'a str,
}

/// The git tree of the committed sources, if they compile to these bytes, and the day of the commit.
///
/// # Errors
///
/// Git does not answer, or its sources are others.
pub fn committed(project: &Project, bytes: &[u8]) -> Result<(String, String), ReleaseError> {
    let git = Git::open(project.root())?;
    let tree = git.run(&["rev-parse", &format!("HEAD:{SOURCES}")])?.trim().to_owned();
    let date = git.run(&["show", "--no-patch", "--format=%cs", "HEAD"])?.trim().to_owned();
    let rebuilt = sources(&git, &tree)?.compile().map_err(ReleaseError::Compile)?;
    if stripped(&rebuilt)? == stripped(bytes)? { Ok((tree, date)) } else { Err(ReleaseError::Uncommitted) }
}

/// Releases.
///
/// # Errors
///
/// Something breaks that is not waived, the version is too small, or a file cannot be read or written.
pub fn release(project: &Project, cut: &Cut<'_>) -> Result<(), ReleaseError> {
    let current = decode(cut)?;
    let baseline = Baseline::read(&project.baseline())?;
    let waivers = waivers::read(&project.waivers())?;
    let judgement = judge(&baseline, &waivers, &consumers::read(&project.consumers())?, &current);
    if !judgement.passes() {
        return Err(ReleaseError::Stopped(Box::new(judgement)));
    }
    let (version, least, newest) = (cut.version, judgement.least, baseline.newest().entry.version);
    if version < least {
        return Err(ReleaseError::Small { version, least, newest });
    }
    if let Some(waiver) = waivers.iter().find(|waiver| waiver.expires < version) {
        return Err(ReleaseError::Expired { id: waiver.id(), expires: waiver.expires, version });
    }
    write(project, cut, &current, baseline.entries(), waivers)
}

/// Begins a baseline.
///
/// # Errors
///
/// There is one, or a file cannot be written.
pub fn first(project: &Project, cut: &Cut<'_>) -> Result<(), ReleaseError> {
    let current = decode(cut)?;
    if project.baseline().exists() {
        return Err(ReleaseError::NotFirst);
    }
    fs::create_dir_all(project.baseline()).map_err(ReleaseError::Write)?;
    fs::create_dir_all(project.changelog().with_file_name("")).map_err(ReleaseError::Write)?;
    write(project, cut, &current, Vec::new(), Vec::new())
}

/// Ends the support of a release: nothing is compared with it any more.
///
/// # Errors
///
/// The baseline cannot be read or written, has no such release, or it is the last one.
pub fn retire(project: &Project, version: Version) -> Result<(), ReleaseError> {
    let baseline = Baseline::read(&project.baseline())?;
    let mut entries = baseline.entries();
    let newest = baseline.newest().entry.version;
    let entry = entries.iter_mut().find(|entry| entry.version == version && version != newest);
    entry.ok_or(ReleaseError::NotRetirable { version })?.supported = false;
    baseline::write_manifest(&project.baseline(), &entries).map_err(ReleaseError::Write)
}

fn decode(cut: &Cut<'_>) -> Result<DescriptorSet, ReleaseError> {
    if !is_date(cut.date) {
        return Err(ReleaseError::Date(cut.date.to_owned()));
    }
    DescriptorSet::decode(cut.bytes, OURS).map_err(ReleaseError::Set)
}

fn is_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok());
    text.len() == 10
        && text.as_bytes()[4] == b'-'
        && text.as_bytes()[7] == b'-'
        && digits(0..4).is_some()
        && digits(5..7).is_some_and(|month| (1..=12).contains(&month))
        && digits(8..10).is_some_and(|day| (1..=31).contains(&day))
}

fn write(
    project: &Project,
    cut: &Cut<'_>,
    current: &DescriptorSet,
    mut entries: Vec<Entry>,
    waivers: Vec<Waiver>,
) -> Result<(), ReleaseError> {
    let folder = project.baseline();
    let surface = Surface::of(current).to_string();
    entries.push(Entry {
        version: cut.version,
        date: cut.date.to_owned(),
        tree: cut.tree.to_owned(),
        descriptors: sha256(cut.bytes),
        surface: sha256(surface.as_bytes()),
        supported: true,
        waivers,
    });
    fs::write(baseline::descriptors_path(&folder, cut.version), cut.bytes).map_err(ReleaseError::Write)?;
    fs::write(baseline::surface_path(&folder, cut.version), surface).map_err(ReleaseError::Write)?;
    baseline::write_manifest(&folder, &entries).map_err(ReleaseError::Write)?;
    waivers::write(&project.waivers(), &[])?;
    vectors::write(&project.vectors(), current).map_err(ReleaseError::Write)?;
    // Read again: what was written must be what the gate will accept.
    let changelog = changelog::write(&Baseline::read(&folder)?);
    fs::write(project.changelog(), changelog).map_err(ReleaseError::Write)
}

/// The `.proto` files of a git tree.
pub(crate) fn sources(git: &Git<'_>, tree: &str) -> Result<Sources, GitError> {
    let mut sources = Sources::default();
    for path in git.run(&["ls-tree", "-r", "--name-only", tree])?.lines().filter(|path| path.ends_with(".proto")) {
        sources.add(path, &git.run(&["show", &format!("{tree}:{path}")])?);
    }
    Ok(sources)
}

pub(crate) fn stripped(bytes: &[u8]) -> Result<Vec<u8>, ReleaseError> {
    without_source_info(bytes).map_err(|error| ReleaseError::Set(SetError::Malformed(error)))
}
