//! The use cases: load, decide, commit.
//!
//! What is loaded may have changed until it is stored. Each write is therefore conditional on what was seen; one that lost loads and decides
//! again, a bounded number of times.

pub(crate) mod holds;
mod listings;
mod reviews;

pub use listings::Change;
pub use reviews::ReviewKey;

use mesh::requests::{self, Claim, RequestKey};
use mesh::store::{Conn, Id, Micros, Store};
use prost::Message;

use crate::domain::{Error, Platform};

/// Attempts of one use case against others that change the same thing.
const ATTEMPTS: usize = 8;

/// The use cases over one database. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Store,
    platform: Platform,
}

impl App {
    /// The use cases over this database, under what the platform decides.
    #[must_use]
    pub const fn new(store: Store, platform: Platform) -> Self {
        Self { store, platform }
    }

    /// What the platform decides.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What the first call with this request id was answered, if there was one.
    async fn first_answer(&self, request: Option<Request>) -> Result<Option<Vec<u8>>, Error> {
        let Some(Request { key, fingerprint }) = request else { return Ok(None) };
        let seen = self.store.read(move |conn| Ok::<_, Error>(requests::find(conn, &key, fingerprint)?));
        match seen.await? {
            Some(Claim::Repeat { answer, .. }) => Ok(answer),
            Some(Claim::Reused) => Err(Error::RequestIdReused),
            Some(Claim::New) | None => Ok(None),
        }
    }

    /// Answers what the first call with this request id was answered, or carries `work` out. What `work` refuses may be refused for what the first
    /// call has done meanwhile: then its answer counts, which is stored by then.
    async fn answered<T>(
        &self,
        request: Option<Request>,
        work: impl Future<Output = Result<Answer<T>, Error>>,
    ) -> Result<Answer<T>, Error> {
        if let Some(first) = self.first_answer(request).await? {
            return Ok(Answer::First(first));
        }
        match work.await {
            Err(refusal) => self.first_answer(request).await?.map(Answer::First).ok_or(refusal),
            done => done,
        }
    }

    /// Runs `work` as one transaction, under the claim of `request` if there is one: as `show` shows what it came to, every repeat is answered.
    /// What `work` refuses or loses is undone, and leaves the request id free.
    async fn once<T, M>(
        &self,
        request: Option<Request>,
        resource: Id,
        show: fn(&Platform, &T) -> M,
        work: impl FnOnce(&mut Conn) -> Result<Attempt<T>, Error> + Send + 'static,
    ) -> Result<Attempt<Answer<T>>, Error>
    where
        T: Send + 'static,
        M: Message + 'static,
    {
        let platform = self.platform;
        let stored = self.store.write(move |conn| {
            let Some(Request { key, fingerprint }) = request else { return Ok(Answer::New(done(work(conn)?)?)) };
            match requests::claim(conn, &key, fingerprint, resource, Micros::now())? {
                Claim::Reused => return Err(Undone::Error(Error::RequestIdReused)),
                Claim::Repeat { answer: Some(answer), .. } => return Ok(Answer::First(answer)),
                Claim::Repeat { answer: None, .. } | Claim::New => {}
            }
            let done = done(work(conn)?)?;
            requests::complete(conn, &key, &show(&platform, &done).encode_to_vec())?;
            Ok(Answer::New(done))
        });
        match stored.await {
            Ok(answer) => Ok(Attempt::Done(answer)),
            Err(Undone::Lost) => Ok(Attempt::Lost),
            Err(Undone::Error(error)) => Err(error),
        }
    }
}

/// A command that answers a repeat like the first time.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who sent which request id to which method.
    pub key: RequestKey,
    /// SHA-256 of the rest of the request.
    pub fingerprint: [u8; 32],
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// What it came to.
    New(T),
    /// The message, encoded, that told the first call with this request id what it came to.
    First(Vec<u8>),
}

/// What came of one attempt at a write.
enum Attempt<T> {
    Done(T),
    /// Something has changed since it was read: nothing was stored.
    Lost,
}

/// Why a transaction was undone.
enum Undone {
    /// What it was decided on has changed since it was read.
    Lost,
    Error(Error),
}

impl<E: Into<Error>> From<E> for Undone {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn done<T>(attempt: Attempt<T>) -> Result<T, Undone> {
    match attempt {
        Attempt::Done(done) => Ok(done),
        Attempt::Lost => Err(Undone::Lost),
    }
}
