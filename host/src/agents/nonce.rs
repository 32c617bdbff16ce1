//! The sign by which a prompt is known at an agent that rewrites everything it is given: a few digits
//! that nobody can guess, in a last line of their own. The agent's record, its hooks and its screen may
//! make anything else of the text.
//!
//! A sign follows from the attempt and a key of this data directory. So it outlives a daemon, another
//! try has another one, and none is kept with the task.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::profile::{PasteMode, Profile};
use crate::model::ids::AttemptId;

/// The number of hexadecimal digits of a sign: 40 bits.
const DIGITS: usize = 10;

/// What is before and after them.
const BEGIN: &str = "(task ";
const END: &str = ")";

/// What the signs of a data directory follow from.
#[derive(Clone, Copy, Default)]
pub struct NonceKey([u8; 32]);

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NonceKey")
    }
}

impl NonceKey {
    /// Returns the key of a data directory. It is made when it is asked for the first time.
    ///
    /// # Errors
    /// It can be neither read nor written.
    pub fn of(data: &Path) -> io::Result<Self> {
        let path = data.join("nonce.key");
        if let Some(key) = Self::read(&path)? {
            return Ok(key);
        }
        let mut key = Self::default();
        File::open("/dev/urandom")?.read_exact(&mut key.0)?;
        // Written aside and linked, so that nobody reads a part of it, and the first of several stays.
        let aside = data.join(format!(".nonce.key-{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(&key.0)?;
        let linked = fs::hard_link(&aside, &path);
        fs::remove_file(&aside)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::read(&path)?.ok_or_else(|| io::Error::other("it is not a key")),
        }
    }

    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut key = Self::default();
        match File::open(path) {
            Ok(mut file) => file.read_exact(&mut key.0).map(|()| Some(key)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the sign of an attempt. It begins with a decimal digit, so that it never is a word.
    pub fn nonce(&self, attempt: AttemptId) -> String {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(attempt.0.to_be_bytes());
        let hash = hash.finalize();
        let rest: String = hash[1..].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{}", hash[0] % 10, &rest[..DIGITS - 1])
    }
}

/// Returns a prompt with the sign, if the profile asks for one.
pub fn signed<'t>(profile: &Profile, prompt: &'t str, nonce: &str) -> Cow<'t, str> {
    if !profile.paste.nonce {
        return Cow::Borrowed(prompt);
    }
    let between = match profile.paste.mode {
        PasteMode::Bracketed => '\n',
        PasteMode::Line => ' ',
    };
    let text = prompt.trim_end_matches(['\r', '\n']);
    Cow::Owned(format!("{text}{between}{BEGIN}{nonce}{END}"))
}

/// Returns the sign of a text that was delivered, if the profile asks for one.
pub fn of<'t>(profile: &Profile, delivered: &'t str) -> Option<&'t str> {
    let text = profile.paste.nonce.then(|| delivered.trim_end())?;
    let (_, nonce) = text.strip_suffix(END)?.rsplit_once(BEGIN)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (nonce.len() == DIGITS && nonce.bytes().all(is_digit)).then_some(nonce)
}

/// Whether a text contains a sign as a word.
pub fn is_in(nonce: &str, text: &str) -> bool {
    places(nonce, text).next().is_some()
}

/// Returns a text without a sign, and without what was put around it.
pub fn without<'t>(nonce: &str, text: &'t str) -> Cow<'t, str> {
    let mut plain = String::new();
    let mut end = 0;
    for at in places(nonce, text) {
        let (mut from, mut to) = (at, at + nonce.len());
        if text[end..from].ends_with(BEGIN) && text[to..].starts_with(END) {
            from -= BEGIN.len();
            to += END.len();
            // What separates it from the prompt.
            let before = text[end..from].strip_suffix(['\n', ' ']);
            from = before.map_or(from, |before| end + before.len());
        }
        plain.push_str(&text[end..from]);
        end = to;
    }
    if end == 0 {
        return Cow::Borrowed(text);
    }
    plain.push_str(&text[end..]);
    Cow::Owned(plain)
}

/// Returns where a sign is in a text, as a word.
fn places<'t>(nonce: &'t str, text: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(nonce)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = text[..at].chars().next_back();
            let after = text[at + nonce.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn profile(paste: &str) -> Profile {
        let text = format!(
            "name = 'mine'\n[recognise]\nprograms = ['mine']\n\
             [composer]\nline = '^> (?P<draft>.*)$'\n[paste]\n{paste}"
        );
        Profile::read(&text).expect("a profile")
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let data = tempfile::tempdir().expect("a directory");
        let key = NonceKey::of(data.path()).expect("a key");
        let again = NonceKey::of(data.path()).expect("a key");
        assert_eq!(key.0, again.0);
        let file = fs::metadata(data.path().join("nonce.key")).expect("a file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().expect("a directory");
        let other = NonceKey::of(other.path()).expect("a key");
        assert_ne!(key.nonce(AttemptId(1)), other.nonce(AttemptId(1)));
        // A file that is no key is not taken for one.
        fs::write(data.path().join("nonce.key"), "short").expect("written");
        assert!(NonceKey::of(data.path()).is_err());
    }

    #[test]
    fn only_a_profile_that_asks_for_it_gets_a_sign() {
        let nonce = NonceKey::default().nonce(AttemptId(7));
        assert_eq!(signed(&profile(""), "do it\n", &nonce), "do it\n");
        let mine = profile("nonce = true\n");
        let text = signed(&mine, "do it\n\n", &nonce);
        assert_eq!(text, format!("do it\n(task {nonce})"));
        assert_eq!(of(&mine, &text), Some(nonce.as_str()));
        assert_eq!(of(&profile(""), &text), None);
        let line = profile("nonce = true\nmode = 'line'\n");
        assert_eq!(
            signed(&line, "do it", &nonce),
            format!("do it (task {nonce})")
        );
    }

    #[test]
    fn what_only_looks_like_a_sign_is_none() {
        let mine = profile("nonce = true\n");
        for text in [
            "",
            "(task )",
            "(task 7)",
            "do it (task zzzzzzzzzz)",
            "(task 0123456789) x",
        ] {
            assert_eq!(of(&mine, text), None, "{text}");
        }
        assert!(is_in("0123456789", "about 0123456789."));
        assert!(!is_in("0123456789", "about 01234567890"));
        assert!(!is_in("0123456789", "about a0123456789"));
    }

    #[test]
    fn a_sign_is_taken_out_of_an_answer() {
        let nonce = "0123456789";
        for (said, plain) in [
            (
                "you said: do it\n(task 0123456789)\n\nDone.",
                "you said: do it\n\nDone.",
            ),
            ("(task 0123456789)", ""),
            ("for 0123456789: done", "for : done"),
            ("a (task 0123456789) (task 0123456789)", "a"),
            ("a 01234567891", "a 01234567891"),
            ("(task 0123456780)", "(task 0123456780)"),
        ] {
            assert_eq!(without(nonce, said), plain);
        }
    }

    proptest! {
        #[test]
        fn a_sign_survives_whatever_becomes_of_the_rest(
            prompt in r"\PC{0,60}", before in r"(\PC{0,20}\s)?", after in r"(\s\PC{0,20})?",
            attempt in any::<i64>(),
        ) {
            let mine = profile("nonce = true\n");
            let nonce = NonceKey::default().nonce(AttemptId(attempt));
            prop_assert!(nonce.len() == DIGITS && nonce.as_bytes()[0].is_ascii_digit());
            let text = signed(&mine, &prompt, &nonce);
            prop_assert!(text.starts_with(&prompt));
            prop_assert_eq!(of(&mine, &text), Some(nonce.as_str()));
            prop_assert!(is_in(&nonce, &text));
            let said = format!("{before}{nonce}{after}");
            prop_assert!(is_in(&nonce, &said));
            // Whatever is said about it, it is not kept; and nothing else is lost.
            prop_assert_eq!(without(&nonce, &text).into_owned(), prompt.clone());
            prop_assert!(!is_in(&nonce, &without(&nonce, &said)));
            prop_assert_eq!(without(&nonce, &prompt), prompt.as_str());
            prop_assert_ne!(&nonce, &NonceKey::default().nonce(AttemptId(attempt.wrapping_add(1))));
        }
    }
}
