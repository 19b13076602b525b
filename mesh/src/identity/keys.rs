//! The folder of keys that a deployment shares: private keys for their owners, public ones for everybody.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `issuer.key.pem`, `<service>.key.pem` (private, mode 0600), `users.jwks.json`, `services.jwks.json` (public).
#[derive(Clone, Debug)]
pub struct KeyDirectory(PathBuf);

impl KeyDirectory {
    /// The folder at `path`; nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Public keys that may sign user tokens.
    #[must_use]
    pub fn users(&self) -> PathBuf {
        self.0.join("users.jwks.json")
    }

    /// Public keys of the services; the key id is the service's name.
    #[must_use]
    pub fn services(&self) -> PathBuf {
        self.0.join("services.jwks.json")
    }

    /// The private key of the local issuer.
    #[must_use]
    pub fn issuer_key(&self) -> PathBuf {
        self.0.join("issuer.key.pem")
    }

    /// The private key of a service.
    #[must_use]
    pub fn service_key(&self, service: &str) -> PathBuf {
        self.0.join(format!("{service}.key.pem"))
    }

    pub(super) fn write_public(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        write_atomically(path, content, 0o644)
    }

    pub(super) fn write_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        write_atomically(path, content, 0o600)
    }
}

/// Readers see the old content or the new one, never a part. The mode holds from the first byte on.
fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().expect("every path here ends in a file name").to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
