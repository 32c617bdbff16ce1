//! The files of a repository.

use std::fs;

use super::*;
use crate::fuzz::steered;

/// Whatever stands in the files of a repository, few files are looked at, and what was noted of them
/// stands. The parts of `data`, separated by zeros, are HEAD and the references that it may lead to.
pub(crate) fn repository(data: &[u8]) {
    thread_local! {
        static PLACE: tempfile::TempDir = tempfile::tempdir().expect("a directory");
    }
    PLACE.with(|place| {
        let place = place.path();
        let (kind, data) = steered(data);
        let mut parts = data.split(|&byte| byte == 0);
        fs::create_dir_all(place.join("refs/heads")).expect("a directory");
        for name in ["HEAD", "refs/heads/main", "refs/heads/other"] {
            fs::write(place.join(name), parts.next().unwrap_or_default()).expect("a file");
        }
        let elsewhere = Path::new("/nonexistent");
        let common = if kind % 2 == 0 { place } else { elsewhere };
        let sources = of_repository(place, common);
        assert!(sources.len() <= 14 + 2 * MOST_REFERENCES);
        assert!(sources.iter().all(AnswerSource::stands));
    });
}
