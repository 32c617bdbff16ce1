//! How directories are related, by whole path components: `/srv/app` is not a parent of
//! `/srv/app2`.

/// How one directory is related to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// It is the same.
    Same,
    /// It contains the other.
    Ancestor,
    /// It is inside the other.
    Descendant,
    /// None of these.
    Unrelated,
}

/// Returns how `this` directory is related to the `other`; both absolute and normalised.
pub fn relation(this: &str, other: &str) -> Relation {
    let (mut this, mut other) = (components(this), components(other));
    loop {
        match (this.next(), other.next()) {
            (None, None) => return Relation::Same,
            (None, Some(_)) => return Relation::Ancestor,
            (Some(_), None) => return Relation::Descendant,
            (Some(one), Some(another)) if one == another => {}
            (Some(_), Some(_)) => return Relation::Unrelated,
        }
    }
}

/// Returns the parts of a path, without the slashes.
pub fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_components_count() {
        for (this, other, expected) in [
            ("/srv/app", "/srv/app", Relation::Same),
            ("/", "/", Relation::Same),
            ("/srv", "/srv/app", Relation::Ancestor),
            ("/", "/srv", Relation::Ancestor),
            ("/srv/app/src/deep", "/srv/app", Relation::Descendant),
            ("/srv", "/", Relation::Descendant),
            ("/srv/app", "/srv/app2", Relation::Unrelated),
            ("/srv/app2", "/srv/app", Relation::Unrelated),
            ("/srv/a", "/srv/b", Relation::Unrelated),
        ] {
            assert_eq!(relation(this, other), expected, "{this} to {other}");
        }
    }
}
