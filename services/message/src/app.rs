//! What callers may read: their own messages, or all of them for an operator.

use mesh::identity::Principal;
use mesh::store::{Id, Store, StoreError};
use mesh::value::{Page, format_user};
use proto::contract::Role;

use crate::domain::Message;
use crate::store;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or not the caller's: one answer, so that nobody learns which.
    #[error("the message {0} does not exist")]
    NotFound(Id),
    /// The rows cannot be read.
    #[error("the messages cannot be read")]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Whose messages a caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everybody's.
    All,
    /// Those to this user, `users/{user}`.
    Recipient(String),
}

impl Scope {
    /// An operator sees all, any other user what was sent to them; a service sees nothing.
    pub(crate) fn of(caller: &Principal) -> Option<Self> {
        if caller.has_role(Role::Operator) {
            Some(Self::All)
        } else {
            caller.user_id().map(|id| Self::Recipient(format_user(id)))
        }
    }

    fn recipient(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Recipient(user) => Some(user),
        }
    }

    /// What a page token is bound to.
    pub(crate) fn key(&self) -> &str {
        self.recipient().unwrap_or("*")
    }
}

/// One message within the scope.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Store`].
pub(crate) async fn get(store: &Store, scope: &Scope, id: Id) -> Result<Message, Error> {
    let found = store.read(move |conn| store::find(conn, id).map_err(Error::from)).await?;
    found.filter(|message| scope.recipient().is_none_or(|user| user == message.recipient)).ok_or(Error::NotFound(id))
}

/// A page of the messages within the scope, newest first, with one more when there is another page.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn list(
    store: &Store,
    scope: &Scope,
    reservation: Option<Id>,
    page: Page,
) -> Result<Vec<Message>, Error> {
    let scope = scope.clone();
    store.read(move |conn| store::list(conn, scope.recipient(), reservation, &page).map_err(Error::from)).await
}
