//! The services' databases as their migrations leave them, before the simulation begins: made once for a sweep, and copied for each seed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use holdfast::service::Service;
use mesh::store::{DatabaseUrl, Store};

/// Makes them.
pub(crate) fn make(folder: &Path) -> Result<()> {
    for service in Service::ALL {
        let url = DatabaseUrl::Sqlite(folder.join(format!("{service}.db")));
        drop(Store::open(&url, service.name(), service.migrations())?);
    }
    Ok(())
}

/// Copies what was made.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no databases in {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
