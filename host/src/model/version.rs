//! Versions of programs, as their packages write them.

use semver::Version;

/// Whether a version is later than another one. One that is not understood is not later.
pub fn is_later(version: &str, than: &str) -> bool {
    match (Version::parse(version), Version::parse(than)) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, than, later) in [
            ("2.1.332", "2.1.231", true),
            ("2.2.0", "2.1.332", true),
            ("10.0.0", "9.9.9", true),
            ("2.1.231", "2.1.332", false),
            ("2.1.332", "2.1.332", false),
            ("2.1.332-beta.1", "2.1.332", false),
            ("nightly", "1.0", false),
            ("1.0", "nightly", false),
        ] {
            assert_eq!(is_later(version, than), later, "{version} {than}");
        }
    }
}
