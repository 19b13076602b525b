//! The folder in which `holdfast up` keeps everything, and how other commands find the mesh that runs there.
//!
//! `up` holds a lock on `up.lock` as long as it lives; the kernel releases it however the process ends. What others need to know (addresses,
//! processes, database, keys) is in `up.json`, readable for its owner only because a database URL may carry a password. The file means
//! something only while the lock is held.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::service::Service;

/// A command that only looks takes the lock for a moment; `up` tries again before it believes that another one runs.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Where `up` keeps things.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct HomeArgs {
    /// Folder in which `holdfast up` keeps data, keys and tools [default: .holdfast here or in the nearest folder above that has one]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_HOME")]
    pub data_dir: Option<PathBuf>,
}

impl HomeArgs {
    /// The folder that is meant; it need not exist.
    ///
    /// # Errors
    /// There is no current folder.
    pub fn open(&self) -> Result<Home> {
        let here = std::env::current_dir().context("the current folder is gone")?;
        let dir = match &self.data_dir {
            Some(dir) => here.join(dir),
            None => {
                let found = here.ancestors().map(|folder| folder.join(".holdfast")).find(|folder| folder.is_dir());
                found.unwrap_or_else(|| here.join(".holdfast"))
            }
        };
        Ok(Home(dir))
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

/// A mesh started by `up`, as other commands need to know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// The process of `up`.
    pub pid: u32,
    /// What runs where.
    pub services: Vec<Endpoint>,
    /// The broker.
    pub nats_url: String,
    /// The broker's process, if `up` started it.
    pub nats_pid: Option<u32>,
    /// The PostgreSQL server, if there is one; otherwise SQLite files in the data folder.
    pub database: Option<String>,
    /// The keys in use.
    pub keys: PathBuf,
    /// The certificates to call with, if it wants any.
    #[serde(default)]
    pub tls: Option<PathBuf>,
    /// A listing to try things with, `listings/…`.
    pub listing: String,
}

/// Where a service listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which.
    pub service: Service,
    /// Where.
    pub address: SocketAddr,
    /// In which process; none when that has ended.
    pub pid: Option<u32>,
}

impl Running {
    /// The processes that run services, each once.
    #[must_use]
    pub fn service_pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.services.iter().filter_map(|endpoint| endpoint.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The address of a service.
    #[must_use]
    pub fn address(&self, service: Service) -> Option<SocketAddr> {
        self.services.iter().find(|endpoint| endpoint.service == service).map(|endpoint| endpoint.address)
    }
}

/// What runs in a home.
#[derive(Debug)]
pub enum Occupant {
    /// Nothing.
    Nobody,
    /// An `up` that is not ready yet (or about to end).
    Starting,
    /// A mesh.
    Mesh(Box<Running>),
}

/// Held by `up` as long as it lives.
#[derive(Debug)]
pub struct Lock {
    state: PathBuf,
    #[expect(dead_code, reason = "closing the file releases the lock")]
    file: File,
}

impl Home {
    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// SQLite files.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The private broker's files.
    #[must_use]
    pub fn nats(&self) -> PathBuf {
        self.0.join("nats")
    }

    /// The payment simulator's books. They belong to the payments of one database, so each database has its own.
    #[must_use]
    pub fn ledger(&self, database: Option<&str>) -> PathBuf {
        let Some(url) = database else { return self.data().join("payment-simulator.jsonl") };
        let place = url.split_once("://").map_or(url, |(_, rest)| rest);
        let place = place.split('?').next().unwrap_or_default();
        let place = place.rsplit('@').next().unwrap_or_default();
        let place: String = place.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.data().join(format!("payment-simulator-{place}.jsonl"))
    }

    /// Keys of issuer and services.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Logs of the services.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("up.lock")
    }

    fn state_file(&self) -> PathBuf {
        self.0.join("up.json")
    }

    /// Takes the lock; `None` when another `up` has it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn lock(&self) -> Result<Option<Lock>> {
        let path = self.lock_file();
        let context = || format!("cannot use {}", path.display());
        fs::create_dir_all(&self.0).with_context(context)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(context)?;
        for attempt in 1..=LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let lock = Lock { state: self.state_file(), file };
                    // Left by one that was killed.
                    lock.forget();
                    return Ok(Some(lock));
                }
                Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
        Ok(None)
    }

    /// Looks who is there.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn occupant(&self) -> Result<Occupant> {
        let Ok(file) = File::open(self.lock_file()) else { return Ok(Occupant::Nobody) };
        if file.try_lock_shared().is_ok() {
            return Ok(Occupant::Nobody);
        }
        let path = self.state_file();
        let Ok(state) = fs::read(&path) else { return Ok(Occupant::Starting) };
        let running = serde_json::from_slice(&state)
            .with_context(|| format!("{} was written by another version", path.display()))?;
        Ok(Occupant::Mesh(Box::new(running)))
    }

    /// The mesh that runs here.
    ///
    /// # Errors
    /// There is none, or it is not ready; the message says what to do.
    pub fn running(&self) -> Result<Running> {
        match self.occupant()? {
            Occupant::Mesh(running) => Ok(*running),
            Occupant::Starting => bail!("the mesh in {} is still starting: try again in a moment", self.0.display()),
            Occupant::Nobody => bail!(
                "no mesh runs in {}: start one with `cargo up`, or name the one you mean with --data-dir or --keys and the --…-url flags",
                self.0.display()
            ),
        }
    }
}

impl Lock {
    /// Tells other commands that the mesh is ready. They see all of it or nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, running: &Running) -> Result<()> {
        let temporary = self.state.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(running).expect("a plain structure becomes JSON"))?;
            fs::rename(&temporary, &self.state)
        };
        write().with_context(|| format!("cannot write {}", self.state.display()))
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.state);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_has_books_of_its_own_and_their_name_no_password() {
        let home = Home(PathBuf::from("/x"));
        assert_eq!(home.ledger(None), Path::new("/x/data/payment-simulator.jsonl"));
        let ledger = home.ledger(Some("postgres://me:p/a@ss@db.local:5432/holdfast?sslmode=disable"));
        assert_eq!(ledger, Path::new("/x/data/payment-simulator-db-local-5432-holdfast.jsonl"));
    }

    #[test]
    fn one_up_at_a_time_and_its_state_lives_as_long_as_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home(folder.path().join("home"));
        assert!(matches!(home.occupant(), Ok(Occupant::Nobody)));

        let lock = home.lock().expect("a writable folder").expect("nobody is there");
        assert!(home.lock().expect("a writable folder").is_none());
        assert!(matches!(home.occupant(), Ok(Occupant::Starting)));
        assert!(home.running().is_err());

        let endpoint = Endpoint { service: Service::View, address: Service::View.address(9000), pid: Some(7) };
        lock.publish(&Running {
            pid: 7,
            services: vec![endpoint],
            nats_url: "nats://127.0.0.1:9022".to_owned(),
            nats_pid: None,
            database: None,
            keys: home.keys(),
            tls: None,
            listing: "listings/0".to_owned(),
        })
        .expect("a writable folder");
        let running = home.running().expect("it is published");
        assert_eq!(running.address(Service::View), Some(Service::View.address(9000)));
        assert_eq!(running.address(Service::Listing), None);

        drop(lock);
        assert!(matches!(home.occupant(), Ok(Occupant::Nobody)));
        assert!(!home.state_file().exists());
    }
}
