//! Secret values of tasks, kept apart from the database: one file per task, readable only by its
//! owner, and deleted once no try of the task can need it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

use crate::files::private;

/// A newer file that no task names may belong to a task that is still being queued.
const QUEUED_WITHIN: Duration = Duration::from_secs(3600);

/// The directory of secret values inside a data directory.
#[derive(Debug, Clone)]
pub struct Secrets {
    directory: PathBuf,
}

impl Secrets {
    /// Returns the secrets of the data directory `data`. Nothing is created before there is a
    /// value.
    pub fn of(data: &Path) -> Self {
        Self {
            directory: data.join("secrets"),
        }
    }

    /// Stores values by the names of their variables, and returns the name of the file that holds
    /// them.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn keep(&self, values: &BTreeMap<String, String>) -> Result<String, StoreError> {
        let failed = |source| StoreError::Secrets {
            path: self.directory.clone(),
            source,
        };
        private::directory(&self.directory).map_err(|error| failed(error.into()))?;
        // The file is created with mode 0600.
        let mut file = tempfile::Builder::new()
            .prefix("values-")
            .rand_bytes(16)
            .tempfile_in(&self.directory)
            .map_err(failed)?;
        serde_json::to_writer(&mut file, values).map_err(|error| failed(error.into()))?;
        file.flush().map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        let (_, path) = file.keep().map_err(|error| failed(error.error))?;
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(name.unwrap_or_default().to_owned())
    }

    /// Returns the values stored under `name`. `None` if they are gone.
    pub fn values(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let text = fs::read_to_string(self.file(name)?).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Deletes the values stored under `name`.
    pub fn forget(&self, name: &str) {
        if let Some(path) = self.file(name) {
            let _ = fs::remove_file(path);
        }
    }

    /// Deletes the values stored under each of `names`.
    pub fn forget_all(&self, names: &[String]) {
        for name in names {
            self.forget(name);
        }
    }

    /// Deletes the files that no task needs any more, such as those left by a process that was
    /// killed.
    pub fn sweep(&self, in_use: &BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|then| then.elapsed().is_ok_and(|age| age > QUEUED_WITHIN));
            if old && name.to_str().is_none_or(|name| !in_use.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Returns the path of a file. The database may hold anything, so the name must not be a path.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let plain = name.starts_with("values-")
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain.then(|| self.directory.join(name))
    }
}

/// Shorter values, in bytes, can occur anywhere: they cannot be told apart from other text.
pub const SHORTEST_SECRET: usize = 4;

/// Replaces each of `values` in `bytes` by `***`, also where JSON writes it with escapes,
/// leaving out those that are shorter than [`SHORTEST_SECRET`].
pub fn mask(bytes: Vec<u8>, values: &BTreeMap<String, String>) -> Vec<u8> {
    let long = values
        .values()
        .filter(|value| value.len() >= SHORTEST_SECRET);
    let forms: BTreeSet<String> = long
        .flat_map(|value| [value.clone(), escaped(value), escaped(&escaped(value))])
        .collect();
    // All places first: secrets may overlap, and what is replaced would hide the rest of the other.
    let mut places: Vec<Range<usize>> = Vec::new();
    for form in &forms {
        let found = memchr::memmem::find_iter(&bytes, form.as_bytes());
        places.extend(found.map(|place| place..place + form.len()));
    }
    if places.is_empty() {
        return bytes;
    }
    places.sort_by_key(|place| (place.start, place.end));
    let mut masked = Vec::with_capacity(bytes.len());
    let mut from = 0;
    let mut covered = 0;
    for place in places {
        if place.start >= covered {
            masked.extend_from_slice(&bytes[from..place.start]);
            masked.extend_from_slice(b"***");
        }
        covered = covered.max(place.end);
        from = covered;
    }
    masked.extend_from_slice(&bytes[from..]);
    masked
}

/// Returns a text as JSON writes it, without the quotes around it.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn values_are_kept_for_their_owner_alone_and_forgotten() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::of(data.path());
        let kept = values(&[("TOKEN", "a'b\n$(c) 漢")]);
        let name = secrets.keep(&kept).expect("kept");
        assert_eq!(secrets.values(&name), Some(kept));
        for (path, mode) in [
            (data.path().join("secrets"), 0o700),
            (data.path().join("secrets").join(&name), 0o600),
        ] {
            let found = fs::metadata(path).expect("there").permissions().mode();
            assert_eq!(found & 0o777, mode);
        }
        secrets.forget(&name);
        assert_eq!(secrets.values(&name), None);
        assert_eq!(secrets.values("../assigner.db"), None);
    }

    #[test]
    fn a_sweep_leaves_what_is_needed_or_new() {
        let data = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::of(data.path());
        let one = values(&[("A", "1")]);
        let [needed, new, old] = [(); 3].map(|()| secrets.keep(&one).expect("kept"));
        for name in [&needed, &old] {
            let file = fs::File::open(secrets.directory.join(name)).expect("a file");
            let long_ago = std::time::SystemTime::now() - QUEUED_WITHIN * 2;
            file.set_modified(long_ago).expect("set");
        }
        secrets.sweep(&BTreeSet::from([needed.clone()]));
        assert!(secrets.values(&needed).is_some() && secrets.values(&new).is_some());
        assert_eq!(secrets.values(&old), None);
    }

    #[test]
    fn values_are_masked_the_longer_first() {
        let values = values(&[("A", "secret"), ("B", "secret-and-more"), ("C", "abc")]);
        let masked = mask(b"a secret, secret-and-more, abc".to_vec(), &values);
        assert_eq!(masked, b"a ***, ***, abc");
    }

    #[test]
    fn what_json_escapes_is_masked_as_well() {
        let values = BTreeMap::from([("KEY".to_owned(), "a\n\"secret\"\\".to_owned())]);
        let text = serde_json::json!({ "seen": values["KEY"] }).to_string();
        let masked = mask(text.into_bytes(), &values);
        assert_eq!(masked, br#"{"seen":"***"}"#);
    }

    #[test]
    fn secrets_that_overlap_are_masked_whole() {
        let values = BTreeMap::from([
            ("A".to_owned(), "abcdEFGH".to_owned()),
            ("B".to_owned(), "EFGHijkl".to_owned()),
            ("C".to_owned(), "bcdE".to_owned()),
        ]);
        let masked = mask(b"x abcdEFGHijkl y bcdE abcdEFGHabcdEFGH".to_vec(), &values);
        assert_eq!(masked, b"x *** y *** ******");
    }
}
