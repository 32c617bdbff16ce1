//! The configuration.

use std::path::Path;

use super::parse;
use crate::fuzz::{FuzzTarget, is_one_line};

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[FuzzTarget {
    name: "configuration",
    seeds: &[],
    run: configuration,
}];

/// A configuration is read, or refused in one line. Pools that were let through have names of their
/// own, commands, and absolute directories.
fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = match parse(&text, Path::new("/etc/a.toml")) {
        Ok(file) => file,
        Err(error) => return is_one_line(&error.to_string()),
    };
    let _ = (file.sessions.exclude.set(), file.sessions.protect.set());
    let pools = &file.pools.0;
    for (index, pool) in pools.iter().enumerate() {
        assert!(pools[..index].iter().all(|other| other.name != pool.name));
        assert!((1..=64).contains(&pool.max));
        let (crate::node::Stand::Directory(path) | crate::node::Stand::Worktree(path)) =
            &pool.stand;
        assert!(path.is_absolute(), "{}", path.display());
    }
    let _ = super::setting(&text);
    let _ = super::enclosing_server(Some(&text));
}
