//! Resource names (AIP-122): `collection/id`, and `users/…`.

use crate::store::Id;

/// `collection/id`.
#[must_use]
pub fn format_name(collection: &str, id: Id) -> String {
    format!("{collection}/{id}")
}

/// The id in `collection/id`, if the name is one of this collection.
#[must_use]
pub fn id_of(collection: &str, name: &str) -> Option<Id> {
    name.strip_prefix(collection)?.strip_prefix('/')?.parse().ok()
}

/// `users/…` of a token's subject.
#[must_use]
pub fn format_user(subject: &str) -> String {
    format!("users/{subject}")
}

/// The subject in `users/…`.
#[must_use]
pub fn user_of(name: &str) -> Option<&str> {
    name.strip_prefix("users/").filter(|user| !user.is_empty() && !user.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_id_and_to_no_other_collection() {
        let id = Id::generate();
        let name = format_name("listings", id);
        assert_eq!(id_of("listings", &name), Some(id));
        assert_eq!(id_of("listing", &name), None);
        assert_eq!(id_of("listings", &name.to_uppercase()), None);
        assert_eq!(id_of("listings", "listings/"), None);
        assert_eq!(user_of("users/alice"), Some("alice"));
        assert_eq!(user_of("users/alice/bob"), None);
        assert_eq!(user_of("users/"), None);
    }
}
