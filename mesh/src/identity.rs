//! Who is calling: tokens of users and of services, how they are made and how they are checked.
//!
//! Users carry a JWT of an issuer (here the local development [`Issuer`]), services one they sign themselves for sixty seconds and for one
//! callee ([`ServiceIdentity`]). A [`Verifier`] keeps the two worlds apart: a service's key can vouch for that service only, never for a user.
//! What a caller may do is not decided here but by the contract's rules (see `server`), and ownership by the service that owns the data.

use std::fmt;
use std::sync::Arc;

use proto::contract::Role;

use crate::fault::{Fault, reason};

mod issuer;
mod jwks;
mod keys;
mod service;
mod verifier;

pub use issuer::{Issuer, IssuerError};
pub use keys::KeyDirectory;
pub use service::ServiceIdentity;
pub(crate) use service::bearer;
pub use verifier::Verifier;

/// `iss` of user tokens of the local issuer.
pub const ISSUER: &str = "https://issuer.holdfast.local";
/// `aud` of user tokens.
pub const AUDIENCE: &str = "holdfast";
/// `iss` of a service's token is this followed by its name.
const SERVICE_ISSUER_PREFIX: &str = "holdfast:";
/// `typ` of user tokens (RFC 9068).
const USER_TOKEN_TYPE: &str = "at+jwt";
/// `typ` of service tokens.
const SERVICE_TOKEN_TYPE: &str = "JWT";
/// The longest life of a service token.
const SERVICE_TOKEN_LIFE_SECONDS: u64 = 60;

/// The authenticated caller. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub subject: Subject,
}

/// A user or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A person, by the token's `sub`.
    User {
        /// The issuer's id of the person.
        id: Arc<str>,
        /// What the person may be.
        roles: Roles,
    },
    /// One of our services, by name.
    Service(Arc<str>),
}

impl Principal {
    /// A user.
    #[must_use]
    pub fn user(id: impl Into<Arc<str>>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { subject: Subject::User { id: id.into(), roles: roles.into_iter().collect() } }
    }

    /// A service.
    #[must_use]
    pub fn service(name: impl Into<Arc<str>>) -> Self {
        Self { subject: Subject::Service(name.into()) }
    }

    /// The user's id, unless a service is calling.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match &self.subject {
            Subject::User { id, .. } => Some(id),
            Subject::Service(_) => None,
        }
    }

    /// The service's name, unless a user is calling.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        match &self.subject {
            Subject::User { .. } => None,
            Subject::Service(name) => Some(name),
        }
    }

    /// Whether a user with this role is calling.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        matches!(&self.subject, Subject::User { roles, .. } if roles.contains(role))
    }
}

/// `users/<id>` or `services/<name>`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::User { id, .. } => write!(f, "users/{id}"),
            Subject::Service(name) => write!(f, "services/{name}"),
        }
    }
}

/// A set of [`Role`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether the role is in the set.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether the set holds no role.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles in it.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

fn bit(role: Role) -> u8 {
    1 << role as u8
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | bit(role)))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The caller of a request that came through [`server::serve`](crate::server::serve).
///
/// # Errors
/// `UNAUTHENTICATED` if no caller was established: the request came another way.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, Fault> {
    request
        .extensions()
        .get::<Principal>()
        .cloned()
        .ok_or_else(|| Fault::unauthenticated(reason::CREDENTIALS_MISSING, "the call carries no credentials"))
}
