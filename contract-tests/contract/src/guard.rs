//! Guards of the baseline that need its history: who moved it, with what, and whether it is what it claims to be.
//!
//! Judged is what git has: in a shallow clone that is not all, and the outcome says so.

use crate::{
    Baseline, Entry, Git, GitError, Project, ReleaseError,
    baseline::{MANIFEST, descriptors_path, parse_manifest, read_file},
    project::{BASELINE, SOURCES},
    release::{sources, stripped},
};

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Each is a reason to stop.
    pub offences: Vec<String>,
    /// What git has not.
    pub unknown: Vec<String>,
    /// Commits that moved the baseline and were looked at.
    pub commits: usize,
    /// Releases made again from their sources.
    pub rebuilt: usize,
}

/// Looks at every commit that moved the baseline, and makes every release again.
///
/// # Errors
///
/// The baseline cannot be read, or git fails. That there is no repository, or not all of it, is told in the outcome.
pub fn guard(project: &Project) -> Result<Outcome, ReleaseError> {
    let baseline = Baseline::read(&project.baseline())?;
    let mut outcome = Outcome::default();
    let git = match Git::open(project.root()) {
        Ok(git) => git,
        Err(error @ (GitError::NoRepository { .. } | GitError::Start(_))) => {
            outcome.unknown.push(error.to_string());
            return Ok(outcome);
        }
        Err(error) => return Err(error.into()),
    };
    let is_shallow = git.run(&["rev-parse", "--is-shallow-repository"])?.trim() == "true";
    if is_shallow {
        outcome.unknown.push("the clone is shallow: earlier commits were not looked at".to_owned());
    }
    for commit in commits(&git)? {
        outcome.commits += 1;
        judge_commit(&git, &commit, &mut outcome.offences)?;
    }
    uncommitted(&git, &mut outcome.offences)?;
    for entry in baseline.entries() {
        rebuild(project, &git, &entry, is_shallow, &mut outcome)?;
    }
    Ok(outcome)
}

/// A commit that moved the baseline: its parent and what it changed.
struct Commit {
    id: String,
    parent: String,
    changes: Vec<Change>,
}

/// `A`, `M` or `D`, and the path.
struct Change {
    status: char,
    path: String,
}

/// Merges repeat what their commits did, and a commit without a parent, such as where a shallow clone ends, changes nothing.
fn commits(git: &Git<'_>) -> Result<Vec<Commit>, GitError> {
    let format = "--format=%x01%H %P";
    let log = git.run(&[
        "log",
        "--no-merges",
        "--no-renames",
        "--full-diff",
        "--name-status",
        format,
        "HEAD",
        "--",
        BASELINE,
    ])?;
    let read = |record: &str| {
        let (ids, changes) = record.split_once('\n')?;
        let (id, parent) = ids.split_once(' ').filter(|(_, parent)| !parent.is_empty())?;
        let changes = changes.lines().filter_map(change).collect();
        Some(Commit { id: id.to_owned(), parent: parent.to_owned(), changes })
    };
    Ok(log.split('\u{1}').filter_map(read).collect())
}

fn change(line: &str) -> Option<Change> {
    let (status, path) = line.split_once('\t')?;
    Some(Change { status: status.chars().next()?, path: path.to_owned() })
}

fn judge_commit(git: &Git<'_>, commit: &Commit, offences: &mut Vec<String>) -> Result<(), GitError> {
    let short = &commit.id[..10];
    if let Some(source) = commit.changes.iter().find(|change| is_below(&change.path, SOURCES)) {
        // Where no manifest was yet there was no release to move.
        if git.succeeds(&["cat-file", "-e", &format!("{}:{BASELINE}/{MANIFEST}", commit.id)]) {
            offences.push(format!(
                "{short} moves the baseline and changes {}: release in a commit of its own",
                source.path
            ));
        }
    }
    for change in &commit.changes {
        if is_release_file(&change.path) && change.status != 'A' {
            offences.push(format!("{short} changes {}, which is released", change.path));
        }
    }
    let manifest = |revision: &str| git.run(&["show", &format!("{revision}:{BASELINE}/{MANIFEST}")]).ok();
    if let Some(old) = manifest(&commit.parent) {
        let new = manifest(&commit.id).unwrap_or_default();
        offences.extend(rewritten(&old, &new).map(|what| format!("{short} {what}")));
    }
    Ok(())
}

fn uncommitted(git: &Git<'_>, offences: &mut Vec<String>) -> Result<(), GitError> {
    let changes = git.run(&["diff", "HEAD", "--no-renames", "--name-status", "--", BASELINE])?;
    let released =
        changes.lines().filter_map(change).filter(|change| is_release_file(&change.path) && change.status != 'A');
    offences.extend(released.map(|change| format!("{} is released, but is not what was committed", change.path)));
    Ok(())
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn is_release_file(path: &str) -> bool {
    let name = path.strip_prefix(BASELINE).and_then(|rest| rest.strip_prefix('/'));
    let version = name.and_then(|name| name.strip_suffix(".binpb").or(name.strip_suffix(".txt")));
    version.is_some_and(|version| version.parse::<crate::Version>().is_ok())
}

/// What became of a manifest that may only grow; support may end.
fn rewritten(old: &str, new: &str) -> Option<String> {
    let (Ok(old), Ok(new)) = (parse_manifest(old), parse_manifest(new)) else {
        return Some(format!("leaves no {MANIFEST} that can be understood"));
    };
    let kept =
        |entry: &Entry| new.iter().any(|now| *now == *entry || *now == Entry { supported: false, ..entry.clone() });
    old.iter().find(|entry| !kept(entry)).map(|entry| format!("rewrites what {MANIFEST} says of {}", entry.version))
}

fn rebuild(
    project: &Project,
    git: &Git<'_>,
    entry: &Entry,
    is_shallow: bool,
    outcome: &mut Outcome,
) -> Result<(), ReleaseError> {
    let Entry { version, tree, .. } = entry;
    if !git.succeeds(&["cat-file", "-e", tree]) {
        let text = format!("git has not the sources of {version}, the tree {tree}");
        if is_shallow {
            outcome.unknown.push(text);
        } else {
            outcome.offences.push(text);
        }
        return Ok(());
    }
    let rebuilt = sources(git, tree)?.compile().map_err(ReleaseError::Compile)?;
    let released = read_file(&descriptors_path(&project.baseline(), *version))?;
    if stripped(&rebuilt)? == stripped(&released)? {
        outcome.rebuilt += 1;
    } else {
        outcome.offences.push(format!("{version} is not what its sources, the tree {tree}, compile to"));
    }
    Ok(())
}
