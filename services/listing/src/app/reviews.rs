//! Reviews, and the listing's count of them.

use mesh::requests::{self, Claim};
use mesh::store::{Conn, Id, Micros};
use mesh::value::Page;
use proto::listing::v1::DeleteReviewResponse;

use super::{ATTEMPTS, Answer, App, Attempt, Request, Undone};
use crate::announce::{self, Origin, ReviewFact};
use crate::domain::{Error, Platform, Review, check_content};
use crate::store::{holds, listings, reviews};
use crate::wire;

/// Which review.
#[derive(Clone, Copy, Debug)]
pub struct ReviewKey {
    /// Its listing.
    pub listing: Id,
    /// Its identifier.
    pub id: Id,
}

impl ReviewKey {
    fn not_found(self) -> Error {
        Error::ReviewNotFound(wire::review_name(self.listing, self.id))
    }
}

impl App {
    /// Leaves a review by a guest whose reservation of the listing is as far as the platform asks for. A repeat answers the first one, as it
    /// was written.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ListingNotFound`], [`Error::ListingDeleted`], [`Error::ReviewNotAllowed`], [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has left the review or not; a repeat with the same request id tells.
    pub async fn create_review(
        &self,
        listing: Id,
        author: &str,
        content: String,
        request: Request,
    ) -> Result<Review, Error> {
        check_content(&content).map_err(|violation| Error::Invalid(vec![violation]))?;
        for _ in 0..ATTEMPTS {
            let now = Micros::now();
            let review = Review {
                id: Id::generate(),
                listing,
                author: author.to_owned(),
                content: content.clone(),
                deleted: false,
                version: 1,
                created_at: now,
                updated_at: now,
            };
            if let Attempt::Done(review) = self.store_review(review, request).await? {
                return Ok(review);
            }
            self.check_guest(listing, author).await?;
        }
        Err(Error::Contended)
    }

    /// Claims the request, counts the review if it may be, and stores it; what was claimed is undone when it may not.
    async fn store_review(&self, review: Review, request: Request) -> Result<Attempt<Review>, Error> {
        let origin = Origin::call(review.created_at);
        let after = self.platform.review_after;
        let stored = self
            .store
            .write(move |conn| {
                match requests::claim(conn, &request.key, request.fingerprint, review.id, review.created_at)? {
                    Claim::New => {}
                    Claim::Repeat { resource, answer } => return Ok(first_answer(review, resource, answer)),
                    Claim::Reused => return Err(Undone::Error(Error::RequestIdReused)),
                }
                let count = listings::count_review(conn, review.listing, &review.author, after)?.ok_or(Undone::Lost)?;
                reviews::insert(conn, &review)?;
                announce::review(conn, &origin, ReviewFact::Created, review.version, &review, count)?;
                requests::complete(conn, &request.key, &review.created_at.0.to_be_bytes())?;
                Ok(review)
            })
            .await;
        match stored {
            Ok(review) => Ok(Attempt::Done(review)),
            Err(Undone::Lost) => Ok(Attempt::Lost),
            Err(Undone::Error(error)) => Err(error),
        }
    }

    /// Tells why a guest may not leave a review.
    async fn check_guest(&self, listing: Id, author: &str) -> Result<(), Error> {
        let author = author.to_owned();
        let after = self.platform.review_after;
        self.store
            .read(move |conn| {
                let found = listings::find(conn, listing)?.ok_or(Error::ListingNotFound(listing))?;
                if !found.is_active() {
                    return Err(Error::ListingDeleted(listing));
                }
                if holds::may_review(conn, listing, &author, after)? {
                    Ok(())
                } else {
                    Err(Error::ReviewNotAllowed(listing))
                }
            })
            .await
    }

    /// The review.
    ///
    /// # Errors
    /// [`Error::ReviewNotFound`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get_review(&self, key: ReviewKey) -> Result<Review, Error> {
        self.find_review(key).await.and_then(|review| if review.deleted { Err(key.not_found()) } else { Ok(review) })
    }

    /// A listing's reviews, newest first: a page and, if there are more, one.
    ///
    /// # Errors
    /// [`Error::ListingNotFound`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn list_reviews(&self, listing: Id, page: Page) -> Result<Vec<Review>, Error> {
        self.store
            .read(move |conn| {
                let found = reviews::page(conn, listing, &page)?;
                if found.is_empty() && listings::find(conn, listing)?.is_none() {
                    return Err(Error::ListingNotFound(listing));
                }
                Ok(found)
            })
            .await
    }

    /// Changes a review of the author's own.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::ReviewNotFound`], also for another's; [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has changed the review or not; the repeat changes nothing more.
    pub async fn update_review(
        &self,
        key: ReviewKey,
        author: &str,
        content: String,
        request: Option<Request>,
    ) -> Result<Answer<Review>, Error> {
        self.answered(request, self.try_update_review(key, author, content, request)).await
    }

    async fn try_update_review(
        &self,
        key: ReviewKey,
        author: &str,
        content: String,
        request: Option<Request>,
    ) -> Result<Answer<Review>, Error> {
        check_content(&content).map_err(|violation| Error::Invalid(vec![violation]))?;
        for _ in 0..ATTEMPTS {
            let seen = self.own_review(key, author).await?;
            if seen.deleted {
                return Err(key.not_found());
            }
            let change = (seen.content != content).then(|| {
                let changed = Review {
                    content: content.clone(),
                    version: seen.version + 1,
                    updated_at: Micros::now(),
                    ..seen.clone()
                };
                ReviewChange { fact: ReviewFact::Modified, told: changed.clone(), changed }
            });
            let show = |_: &Platform, review: &Review| wire::review(review);
            let stored = self.once(request, key.id, show, move |conn| match change {
                None => Ok(Attempt::Done(seen)),
                Some(change) => change.store(conn),
            });
            if let Attempt::Done(answer) = stored.await? {
                return Ok(answer);
            }
        }
        Err(Error::Contended)
    }

    /// Deletes a review of the author's own; deleting it again changes nothing.
    ///
    /// # Errors
    /// [`Error::ReviewNotFound`], also for another's; [`Error::RequestIdReused`].
    ///
    /// # Cancel safety
    /// A dropped call has deleted the review or not; the repeat changes nothing more.
    pub async fn delete_review(&self, key: ReviewKey, author: &str, request: Option<Request>) -> Result<(), Error> {
        self.answered(request, self.try_delete_review(key, author, request)).await.map(|_| ())
    }

    async fn try_delete_review(
        &self,
        key: ReviewKey,
        author: &str,
        request: Option<Request>,
    ) -> Result<Answer<()>, Error> {
        for _ in 0..ATTEMPTS {
            let seen = self.own_review(key, author).await?;
            let change = (!seen.deleted).then(|| {
                let changed = Review {
                    content: String::new(),
                    deleted: true,
                    version: seen.version + 1,
                    updated_at: Micros::now(),
                    ..seen.clone()
                };
                ReviewChange { fact: ReviewFact::Deleted, changed, told: seen }
            });
            let show = |_: &Platform, (): &()| DeleteReviewResponse {};
            let stored = self.once(request, key.id, show, move |conn| match change {
                None => Ok(Attempt::Done(())),
                Some(change) => Ok(match change.store(conn)? {
                    Attempt::Done(_) => Attempt::Done(()),
                    Attempt::Lost => Attempt::Lost,
                }),
            });
            if let Attempt::Done(answer) = stored.await? {
                return Ok(answer);
            }
        }
        Err(Error::Contended)
    }

    async fn find_review(&self, key: ReviewKey) -> Result<Review, Error> {
        let found: Option<Review> = self.store.read(move |conn| Ok::<_, Error>(reviews::find(conn, key.id)?)).await?;
        found.filter(|review| review.listing == key.listing).ok_or_else(|| key.not_found())
    }

    /// Another's review is answered as if it did not exist.
    async fn own_review(&self, key: ReviewKey, author: &str) -> Result<Review, Error> {
        self.find_review(key)
            .await
            .and_then(|review| if review.author == author { Ok(review) } else { Err(key.not_found()) })
    }
}

/// A review as it is to become, and its event, which tells `told`.
struct ReviewChange {
    fact: ReviewFact,
    changed: Review,
    told: Review,
}

impl ReviewChange {
    /// Unless another change was faster.
    fn store(self, conn: &mut Conn) -> Result<Attempt<Review>, Error> {
        let Self { fact, changed, told } = self;
        if !reviews::replace(conn, &changed)? {
            return Ok(Attempt::Lost);
        }
        let count = match fact {
            ReviewFact::Deleted => listings::discount_review(conn, changed.listing)?,
            ReviewFact::Created | ReviewFact::Modified => listings::review_count(conn, changed.listing)?,
        };
        let count = count.ok_or(diesel::result::Error::NotFound)?;
        announce::review(conn, &Origin::call(changed.updated_at), fact, changed.version, &told, count)?;
        Ok(Attempt::Done(changed))
    }
}

/// What the first of equal requests was answered. All of it is in the request itself, except the identifier and the time.
fn first_answer(repeat: Review, id: Id, answer: Option<Vec<u8>>) -> Review {
    let at = answer
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(repeat.created_at, |bytes| Micros(i64::from_be_bytes(bytes)));
    Review { id, created_at: at, updated_at: at, ..repeat }
}
