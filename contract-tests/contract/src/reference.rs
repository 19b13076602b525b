//! The API reference: what the contracts say, as pages for people.
//!
//! A page for each package, and one that leads to them. Everything comes from the descriptors: shapes, options, comments.

mod package;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use prost_reflect::{FileDescriptor, MessageDescriptor, ServiceDescriptor};

use crate::{
    DescriptorSet,
    comments::Comments,
    meaning::{events, options::text},
};

const INDEX: &str = "README.md";
const OPTIONS: &str = "holdfast.options.v1";
const ERROR_CASE: &str = "holdfast.options.v1.ErrorCase";
/// The place of a package's comment in its file.
const PACKAGE: [i32; 1] = [2];

/// Every page, by file name.
#[must_use]
pub fn pages(set: &DescriptorSet) -> BTreeMap<String, String> {
    let book = Book { set, comments: Comments::of(set) };
    let packages = book.packages();
    let mut pages: BTreeMap<String, String> =
        packages.iter().map(|name| (format!("{name}.md"), package::page(&book, name))).collect();
    pages.insert(INDEX.to_owned(), index(&book, &packages));
    pages
}

/// Writes every page, and removes those that have become none.
///
/// # Errors
///
/// A file cannot be written or removed.
pub fn write(folder: &Path, set: &DescriptorSet) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let pages = pages(set);
    for name in files(folder)?.difference(&pages.keys().cloned().collect()) {
        fs::remove_file(folder.join(name))?;
    }
    pages.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

/// The pages that are not what they would be now, too many or too few included.
///
/// # Errors
///
/// The folder cannot be read.
pub fn stale(folder: &Path, set: &DescriptorSet) -> io::Result<Vec<String>> {
    let pages = pages(set);
    let mut names = files(folder)?;
    names.extend(pages.keys().cloned());
    let is_stale = |name: &String| fs::read_to_string(folder.join(name)).ok().as_ref() != pages.get(name);
    Ok(names.into_iter().filter(is_stale).collect())
}

fn files(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect()
}

/// A set and its comments.
struct Book<'a> {
    set: &'a DescriptorSet,
    comments: Comments,
}

impl Book<'_> {
    /// Those with something to call or to consume.
    fn packages(&self) -> Vec<String> {
        let names: BTreeSet<String> = self.set.files().map(|file| file.package_name().to_owned()).collect();
        names.into_iter().filter(|name| name != OPTIONS).collect()
    }

    /// The files of a package, the one named as its service first, those with events last.
    fn files(&self, package: &str) -> Vec<FileDescriptor> {
        let mut files: Vec<_> = self.set.files().filter(|file| file.package_name() == package).collect();
        let service = package.split('.').nth(1).unwrap_or_default();
        files.sort_by_key(|file| {
            let is_main = file.name().ends_with(&format!("/{service}.proto"));
            (file.name().ends_with("_events.proto"), !is_main, file.name().to_owned())
        });
        files
    }

    fn comment(&self, file: &FileDescriptor, path: &[i32]) -> &str {
        self.comments.on(file, path).unwrap_or_default()
    }

    fn services(&self, package: &str) -> Vec<ServiceDescriptor> {
        self.files(package).iter().flat_map(|file| file.services().collect::<Vec<_>>()).collect()
    }

    fn events(&self, package: &str) -> Vec<MessageDescriptor> {
        let messages = self.files(package).into_iter().flat_map(|file| file.messages().collect::<Vec<_>>());
        messages.filter(|message| events::option(message).is_some()).collect()
    }
}

fn index(book: &Book<'_>, packages: &[String]) -> String {
    let mut page = "# API reference\n\nWritten from the contracts in [proto/](../../proto/holdfast) by `contract reference`; what changed \
        from release to\nrelease is in the [changelog](../api-changelog.md).\n\n| package | what it is for |\n|---|---|\n"
        .to_owned();
    for package in packages {
        let about = book.files(package).first().map_or("", |file| book.comment(file, &PACKAGE)).to_owned();
        page += &format!("| [{package}]({package}.md) | {} |\n", words::cell(&about));
    }
    page += "\n## RPCs\n\n| RPC | |\n|---|---|\n";
    for (package, service) in packages.iter().flat_map(|name| book.services(name).into_iter().map(move |it| (name, it)))
    {
        for rpc in service.methods() {
            let link = format!("{package}.md#{}", words::anchor(rpc.name()));
            let about = words::summary(book.comment(&service.parent_file(), rpc.path()));
            page += &format!("| {}.[{}]({link}) | {} |\n", service.name(), rpc.name(), words::cell(&about));
        }
    }
    page += "\n## Events\n\nThe last part of a subject is the id of what the event is about.\n\n| event | stream | subject |\n|---|---|---|\n";
    for (package, event) in packages.iter().flat_map(|name| book.events(name).into_iter().map(move |it| (name, it))) {
        let option = events::option(&event).expect("an event has its option");
        let link = format!("{package}.md#{}", words::anchor(event.name()));
        let (stream, subject) = (text(&option, "stream"), text(&option, "subject"));
        page += &format!("| [{}]({link}) | {stream} | `{subject}` |\n", event.name());
    }
    page + &refusals(book)
}

/// The comment of the option tells what every RPC may answer.
fn refusals(book: &Book<'_>) -> String {
    let case = book.set.pool().get_message_by_name(ERROR_CASE);
    let comment = case.map(|case| book.comment(&case.parent_file(), case.path()).to_owned()).unwrap_or_default();
    format!("\n## Refusals\n\n{comment}\n")
}
