//! What an update may touch (AIP-134) and whether it is still current (AIP-154).

use crate::fault::Fault;

/// The etag of a version: its number, quoted.
#[must_use]
pub fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// Refuses a change based on another version; an empty etag matches any.
///
/// # Errors
/// `ABORTED`/`ETAG_MISMATCH`.
pub fn check_etag(sent: &str, version: i64) -> Result<(), Fault> {
    if sent.is_empty() || sent == etag(version) {
        return Ok(());
    }
    Err(Fault::aborted("ETAG_MISMATCH", "somebody else changed it since; read it again"))
}

/// The fields an update names, of those that may be updated; no mask or `*` names all of them.
///
/// # Errors
/// `INVALID_ARGUMENT`/`FIELD_NOT_UPDATABLE` naming `update_mask` for any other path.
pub fn update_paths<'a>(mask: Option<&prost_types::FieldMask>, allowed: &[&'a str]) -> Result<Vec<&'a str>, Fault> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty() && mask.paths != ["*"]) else {
        return Ok(allowed.to_vec());
    };
    mask.paths
        .iter()
        .map(|path| {
            allowed.iter().copied().find(|field| field == path).ok_or_else(|| {
                Fault::invalid("update_mask", "FIELD_NOT_UPDATABLE", format!("may name {}", allowed.join(", ")))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_fields_that_may_change_or_is_refused() {
        let mask =
            |paths: &[&str]| prost_types::FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() };
        assert_eq!(update_paths(None, &["a", "b"]).expect("all"), ["a", "b"]);
        assert_eq!(update_paths(Some(&mask(&["*"])), &["a", "b"]).expect("all"), ["a", "b"]);
        assert_eq!(update_paths(Some(&mask(&["b"])), &["a", "b"]).expect("one"), ["b"]);
        assert_eq!(
            update_paths(Some(&mask(&["state"])), &["a", "b"]).expect_err("refused").reason(),
            "FIELD_NOT_UPDATABLE"
        );
    }

    #[test]
    fn an_old_etag_is_refused_and_none_is_not() {
        assert!(check_etag("", 3).is_ok());
        assert!(check_etag(&etag(3), 3).is_ok());
        assert_eq!(check_etag(&etag(2), 3).expect_err("refused").reason(), "ETAG_MISMATCH");
    }
}
