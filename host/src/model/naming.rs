//! The names that people use for sessions, and what they mean by them.
//!
//! tmux reuses names: when a pane ends, the others are renumbered; panes are swapped; sessions are
//! renamed. What a person says about a session (a pause, a label, a target) is therefore stored
//! with the [`Meaning`] that the name had at that moment, and follows it.
//!
//! ```text
//! `m:0.1`, `api`   the name of one session       -> its pane
//! `m`              a tmux session with several   -> that tmux session, including later panes
//! `new`            no session has this name yet  -> the first tmux session that gets it
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Identity, PaneId, TmuxSession};
use super::session::names;

/// A tmux session that shows a pane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// Its number in tmux.
    pub id: TmuxSession,
    /// The pane's name there.
    pub name: String,
}

/// What the name of a session meant when it was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meaning {
    /// A pane, wherever it is moved and whatever its name.
    Pane(Identity),
    /// A tmux session with all its panes, including later ones.
    Session {
        /// Process id of the tmux server.
        server_pid: u32,
        /// When that server started, in seconds since 1970-01-01 UTC.
        server_start: i64,
        /// The session.
        id: TmuxSession,
    },
}

impl Meaning {
    /// Returns the process id of the tmux server, and when it started.
    pub fn server(&self) -> (u32, i64) {
        match self {
            Self::Pane(pane) => (pane.server_pid, pane.server_start),
            Self::Session {
                server_pid,
                server_start,
                ..
            } => (*server_pid, *server_start),
        }
    }

    /// Returns tmux's own name for it, for people: `%3` or `$1`.
    pub fn address(&self) -> String {
        match self {
            Self::Pane(pane) => pane.pane.to_string(),
            Self::Session { id, .. } => id.to_string(),
        }
    }
}

/// The form in which it is stored.
impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pid, start) = self.server();
        match self {
            Self::Pane(pane) => write!(f, "pane {pid} {start} {} {}", pane.pane, pane.pane_pid),
            Self::Session { id, .. } => write!(f, "session {pid} {start} {id}"),
        }
    }
}

/// A text that is not a [`Meaning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMeaning;

impl FromStr for Meaning {
    type Err = NoMeaning;

    fn from_str(text: &str) -> Result<Self, NoMeaning> {
        let read = || {
            let mut words = text.split(' ');
            let kind = words.next()?;
            let server_pid = words.next()?.parse().ok()?;
            let server_start = words.next()?.parse().ok()?;
            let address = words.next()?;
            let meaning = match kind {
                "pane" => Self::Pane(Identity {
                    server_pid,
                    server_start,
                    pane: PaneId::parse(address)?,
                    pane_pid: words.next()?.parse().ok()?,
                }),
                "session" => Self::Session {
                    server_pid,
                    server_start,
                    id: TmuxSession::parse(address)?,
                },
                _ => return None,
            };
            words.next().is_none().then_some(meaning)
        };
        read().ok_or(NoMeaning)
    }
}

/// A session as a person named it, and what that meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRef {
    /// The name that was used.
    pub name: String,
    /// What it meant; `None`: no session has had this name yet.
    pub meaning: Option<Meaning>,
}

impl From<&str> for SessionRef {
    fn from(name: &str) -> Self {
        Self::from(name.to_owned())
    }
}

impl From<String> for SessionRef {
    fn from(name: String) -> Self {
        Self {
            name,
            meaning: None,
        }
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl SessionRef {
    /// Returns the name with the address of what it meant, which distinguishes it from others that
    /// had the same name.
    pub fn in_full(&self) -> String {
        match &self.meaning {
            Some(Meaning::Pane(pane)) => format!("{} (pane {})", self.name, pane.pane),
            Some(Meaning::Session { id, .. }) => format!("{} (tmux session {id})", self.name),
            None => self.name.clone(),
        }
    }
}

/// A session, as far as its names matter.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its identity; `None`: it does not exist yet.
    pub identity: Option<&'a Identity>,
    /// The tmux sessions that show it, the one that names it first.
    pub homes: &'a [Home],
}

impl<'a> Who<'a> {
    /// Returns a session of which only the name is known.
    pub fn named(name: &'a str) -> Self {
        Self {
            name,
            identity: None,
            homes: &[],
        }
    }

    /// Returns the names that mean this one session: its own, and one for each further tmux session
    /// that shows it.
    pub fn labels(self) -> impl Iterator<Item = &'a str> {
        let further = self.homes.iter().map(|home| home.name.as_str());
        std::iter::once(self.name).chain(further.filter(move |name| *name != self.name))
    }

    /// Returns all its names, including those that it shares with others: see [`names`].
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.labels().flat_map(names)
    }

    /// Whether it has this name.
    pub fn is_called(self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Whether it is what was meant, or belongs to it.
    pub fn is(self, meaning: &Meaning) -> bool {
        let Some(identity) = self.identity else {
            return false;
        };
        match meaning {
            Meaning::Pane(pane) => pane == identity,
            Meaning::Session { id, .. } => {
                meaning.server() == (identity.server_pid, identity.server_start)
                    && self.homes.iter().any(|home| home.id == *id)
            }
        }
    }

    /// Whether a person who named that session meant this one.
    pub fn answers(self, said: &SessionRef) -> bool {
        match &said.meaning {
            Some(meaning) => self.is(meaning),
            None => self.is_called(&said.name),
        }
    }

    /// Returns the tmux session of that name that shows it.
    fn home_called(self, name: &str) -> Option<Meaning> {
        let identity = self.identity?;
        let mut homes = self.homes.iter();
        let home = homes.find(|home| session_part(&home.name) == name)?;
        Some(Meaning::Session {
            server_pid: identity.server_pid,
            server_start: identity.server_start,
            id: home.id,
        })
    }
}

/// Returns what a name means among the existing sessions, or `None` if none has it.
pub fn meaning<'a>(sessions: impl Iterator<Item = Who<'a>> + Clone, name: &str) -> Option<Meaning> {
    let labelled = |who: Who<'a>| who.labels().any(|label| label == name);
    let pane = sessions.clone().find(|who| labelled(*who));
    let pane = pane.and_then(|who| who.identity.cloned());
    let mut sessions = sessions;
    pane.map(Meaning::Pane)
        .or_else(|| sessions.find_map(|who| who.home_called(name)))
}

/// Returns what a name means that was used before there was a session of that name. The name of a
/// tmux session means all its panes, because some of them may not exist yet.
pub fn first_meaning<'a>(
    sessions: impl Iterator<Item = Who<'a>> + Clone,
    name: &str,
) -> Option<Meaning> {
    let mut homes = sessions.clone();
    homes
        .find_map(|who| who.home_called(name))
        .or_else(|| meaning(sessions, name))
}

/// The whereabouts of a session that a person has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It exists, and has this name now.
    Here(String),
    /// It does not exist yet: the first session of that name will be it.
    Awaited,
    /// What was meant is gone.
    Gone,
}

/// Returns where a session is among the existing ones.
pub fn whereabouts<'a>(
    mut sessions: impl Iterator<Item = Who<'a>>,
    said: &SessionRef,
) -> Whereabouts {
    let found = sessions.find(|who| who.answers(said));
    match (found, &said.meaning) {
        (None, None) => Whereabouts::Awaited,
        (None, Some(_)) => Whereabouts::Gone,
        (Some(_), None) => Whereabouts::Here(said.name.clone()),
        (Some(who), Some(Meaning::Pane(_))) => Whereabouts::Here(who.name.to_owned()),
        (Some(who), Some(Meaning::Session { id, .. })) => {
            let mut homes = who.homes.iter();
            let home = homes.find(|home| home.id == *id);
            let name = home.map_or(who.name, |home| session_part(&home.name));
            Whereabouts::Here(name.to_owned())
        }
    }
}

/// Returns what was said earlier about a session that a person now names: by what the name means,
/// by the session's current name, or else by the name that was used then.
pub fn found<'w, 's>(
    wishes: impl Iterator<Item = &'w SessionRef> + Clone,
    named: &SessionRef,
    sessions: &(impl Iterator<Item = Who<'s>> + Clone),
) -> Vec<&'w SessionRef> {
    let is_it = |wish: &&SessionRef| {
        let (means, called) = (wish.meaning.as_ref(), wish.name == named.name);
        if means.is_none() {
            return called;
        }
        means == named.meaning.as_ref()
            || whereabouts(sessions.clone(), wish) == Whereabouts::Here(named.name.clone())
    };
    let found: Vec<&SessionRef> = wishes.clone().filter(is_it).collect();
    if !found.is_empty() {
        return found;
    }
    wishes.filter(|wish| wish.name == named.name).collect()
}

/// Returns the name of the tmux session that is part of a session's name.
fn session_part(name: &str) -> &str {
    names(name).last().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pane of a model of tmux.
    #[derive(Debug, Clone)]
    struct ShownPane {
        identity: Identity,
        homes: Vec<Home>,
    }

    impl ShownPane {
        fn who(&self) -> Who<'_> {
            Who {
                name: &self.homes[0].name,
                identity: Some(&self.identity),
                homes: &self.homes,
            }
        }
    }

    fn pane(number: u32) -> Identity {
        Identity {
            server_pid: 7,
            server_start: 1_000,
            pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
            pane_pid: 100 + number,
        }
    }

    fn shown(number: u32, homes: &[(u32, &str)]) -> ShownPane {
        let homes = homes.iter().map(|(id, name)| Home {
            id: TmuxSession(*id),
            name: (*name).to_owned(),
        });
        ShownPane {
            identity: pane(number),
            homes: homes.collect(),
        }
    }

    fn session(id: u32) -> Meaning {
        Meaning::Session {
            server_pid: 7,
            server_start: 1_000,
            id: TmuxSession(id),
        }
    }

    fn means(panes: &[ShownPane], name: &str) -> Option<Meaning> {
        meaning(panes.iter().map(ShownPane::who), name)
    }

    fn said(panes: &[ShownPane], name: &str) -> SessionRef {
        SessionRef {
            name: name.to_owned(),
            meaning: means(panes, name),
        }
    }

    fn answering<'a>(panes: &'a [ShownPane], said: &SessionRef) -> Vec<&'a str> {
        let panes = panes.iter().map(ShownPane::who);
        panes
            .filter(|who| who.answers(said))
            .map(|who| who.name)
            .collect()
    }

    #[test]
    fn a_name_means_its_pane_or_the_session_of_several() {
        let panes = [
            shown(1, &[(0, "m:0.0")]),
            shown(2, &[(0, "m:0.1")]),
            shown(3, &[(1, "api")]),
        ];
        assert_eq!(means(&panes, "m:0.1"), Some(Meaning::Pane(pane(2))));
        assert_eq!(means(&panes, "api"), Some(Meaning::Pane(pane(3))));
        assert_eq!(means(&panes, "m"), Some(session(0)));
        assert_eq!(means(&panes, "m:0.2"), None);
        assert_eq!(means(&panes, "ap"), None);
    }

    #[test]
    fn a_name_that_was_awaited_means_the_whole_session() {
        let panes = [shown(3, &[(1, "api")])];
        let first = |name| first_meaning(panes.iter().map(ShownPane::who), name);
        assert_eq!(first("api"), Some(session(1)));
        assert_eq!(first("web"), None);
        let panes = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
        let first = |name| first_meaning(panes.iter().map(ShownPane::who), name);
        assert_eq!(first("m:0.1"), Some(Meaning::Pane(pane(2))));
    }

    #[test]
    fn what_was_said_of_a_pane_follows_it_when_panes_are_renumbered() {
        let before = [
            shown(1, &[(0, "m:0.0")]),
            shown(2, &[(0, "m:0.1")]),
            shown(3, &[(0, "m:0.2")]),
        ];
        let second = said(&before, "m:0.1");
        let all = said(&before, "m");
        // The first pane has ended.
        let after = [shown(2, &[(0, "m:0.0")]), shown(3, &[(0, "m:0.1")])];
        assert_eq!(answering(&after, &second), ["m:0.0"]);
        assert_eq!(answering(&after, &all), ["m:0.0", "m:0.1"]);
        // And the third: the remaining pane has the session's name.
        let after = [shown(2, &[(0, "m")])];
        assert_eq!(answering(&after, &second), ["m"]);
        assert_eq!(answering(&after, &all), ["m"]);
        // And the second: another pane with that name is not the one that was meant.
        let after = [shown(4, &[(0, "m")])];
        assert_eq!(answering(&after, &second), [""; 0]);
        assert_eq!(answering(&after, &all), ["m"]);
    }

    #[test]
    fn a_pane_has_the_names_of_all_its_sessions() {
        let panes = [shown(1, &[(0, "main"), (4, "other")])];
        assert_eq!(means(&panes, "main"), means(&panes, "other"));
        assert_eq!(means(&panes, "other"), Some(Meaning::Pane(pane(1))));
        let panes = [
            shown(1, &[(0, "main:0.0"), (4, "other:0.0")]),
            shown(2, &[(0, "main:0.1"), (4, "other:0.1")]),
        ];
        assert_eq!(means(&panes, "other:0.1"), Some(Meaning::Pane(pane(2))));
        assert_eq!(means(&panes, "other"), Some(session(4)));
        let other = said(&panes, "other");
        assert_eq!(answering(&panes, &other), ["main:0.0", "main:0.1"]);
    }

    #[test]
    fn another_server_is_another_world() {
        let before = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
        let wishes = [said(&before, "m:0.0"), said(&before, "m")];
        let mut after = before;
        for shown in &mut after {
            shown.identity.server_start += 1;
        }
        for wish in wishes {
            assert_eq!(answering(&after, &wish), [""; 0], "{wish:?}");
            let found = whereabouts(after.iter().map(ShownPane::who), &wish);
            assert_eq!(found, Whereabouts::Gone);
        }
    }

    #[test]
    fn where_a_session_is_is_told_by_its_present_name() {
        let before = [shown(1, &[(0, "m:0.0")]), shown(2, &[(0, "m:0.1")])];
        let (one, all) = (said(&before, "m:0.1"), said(&before, "m"));
        let after = [shown(1, &[(0, "k:0.1")]), shown(2, &[(0, "k:0.0")])];
        let find = |said| whereabouts(after.iter().map(ShownPane::who), said);
        assert_eq!(find(&one), Whereabouts::Here("k:0.0".to_owned()));
        assert_eq!(find(&all), Whereabouts::Here("k".to_owned()));
        assert_eq!(find(&SessionRef::from("m")), Whereabouts::Awaited);
        let alone = [shown(1, &[(0, "k")])];
        let gone = whereabouts(alone.iter().map(ShownPane::who), &one);
        assert_eq!(gone, Whereabouts::Gone);
    }

    #[test]
    fn what_was_said_is_found_by_the_present_name_and_by_the_old_one() {
        let wish = |name: &str, meaning| SessionRef {
            name: name.to_owned(),
            meaning: Some(meaning),
        };
        let wishes = [
            wish("m:0.1", Meaning::Pane(pane(1))),
            wish("m:0.1", Meaning::Pane(pane(2))),
            wish("new", session(4)),
            SessionRef::from("awaited"),
        ];
        let panes = [
            shown(1, &[(0, "m:0.0")]),
            shown(2, &[(0, "m:0.1")]),
            shown(3, &[(4, "old")]),
        ];
        let find = |name: &str| -> Vec<&SessionRef> {
            let there = panes.iter().map(ShownPane::who);
            found(wishes.iter(), &said(&panes, name), &there)
        };
        assert_eq!(find("m:0.0"), [&wishes[0]]);
        assert_eq!(find("m:0.1"), [&wishes[1]]);
        // Said about a tmux session that has only one pane now.
        assert_eq!(find("old"), [&wishes[2]]);
        assert_eq!(find("new"), [&wishes[2]]);
        assert_eq!(find("awaited"), [&wishes[3]]);
        assert!(find("nobody").is_empty());
        let by_name = found(wishes.iter(), &"m:0.1".into(), &std::iter::empty());
        assert_eq!(by_name, [&wishes[0], &wishes[1]]);
    }

    #[test]
    fn a_text_that_is_no_meaning_is_none() {
        for text in [
            "",
            "pane",
            "pane 1 2 %3",
            "pane 1 2 3 4",
            "pane 1 2 %3 4 5",
            "pane -1 2 %3 4",
            "session 1 2 %3",
            "session 1 2 $",
            "session 1 2 $99999999999",
            "window 1 2 @3",
        ] {
            assert_eq!(text.parse::<Meaning>(), Err(NoMeaning), "{text}");
        }
    }

    /// A world of panes, in which tmux renumbers, swaps, moves and renames.
    #[derive(Debug, Clone)]
    enum TmuxChange {
        End(usize),
        Swap(usize, usize),
        Move(usize, u32),
        Rename(u32),
    }

    fn change() -> impl Strategy<Value = TmuxChange> {
        prop_oneof![
            (0_usize..8).prop_map(TmuxChange::End),
            (0_usize..8, 0_usize..8).prop_map(|(one, other)| TmuxChange::Swap(one, other)),
            (0_usize..8, 0_u32..3).prop_map(|(pane, to)| TmuxChange::Move(pane, to)),
            (0_u32..3).prop_map(TmuxChange::Rename),
        ]
    }

    /// The number and home of each pane, in order, and how often each session was renamed.
    type Places = (Vec<(u32, u32)>, [u32; 3]);

    fn happen((panes, names): &mut Places, change: &TmuxChange) {
        let count = panes.len().max(1);
        match *change {
            TmuxChange::End(pane) if pane < panes.len() => {
                panes.remove(pane);
            }
            TmuxChange::Swap(one, other) if !panes.is_empty() => {
                let (one, other) = (one % count, other % count);
                let (a, b) = (panes[one].0, panes[other].0);
                panes[one].0 = b;
                panes[other].0 = a;
            }
            TmuxChange::Move(pane, to) if !panes.is_empty() => {
                let (number, _) = panes.remove(pane % count);
                panes.push((number, to));
            }
            TmuxChange::Rename(session) => names[session as usize] += 1,
            _ => {}
        }
    }

    /// Returns the panes as tmux numbers them and assigner names them.
    fn world((panes, names): &Places) -> Vec<ShownPane> {
        let mut counts = [0; 3];
        let mut world = Vec::new();
        for &(number, home) in panes {
            let several = panes.iter().filter(|(_, other)| *other == home).count() > 1;
            // Names are reused: by the next session, and after two renames by the same one.
            let base = ["a", "b", "c"][(home + names[home as usize]) as usize % 3];
            let index = counts[home as usize];
            counts[home as usize] += 1;
            let name = if several {
                format!("{base}{}:0.{index}", names[home as usize] % 2)
            } else {
                format!("{base}{}", names[home as usize] % 2)
            };
            world.push(shown(number, &[(home, &name)]));
        }
        world
    }

    proptest! {
        #[test]
        fn a_wish_stays_with_its_pane(
            homes in prop::collection::vec(0_u32..3, 1..6),
            chosen in 0_usize..6,
            changes in prop::collection::vec(change(), 0..12),
        ) {
            let panes = (1_u32..).zip(homes).collect();
            let mut places: Places = (panes, [0; 3]);
            let before = world(&places);
            let pane = &before[chosen % before.len()];
            let wish = SessionRef {
                name: pane.who().name.to_owned(),
                meaning: Some(Meaning::Pane(pane.identity.clone())),
            };
            for change in &changes {
                happen(&mut places, change);
                let after = world(&places);
                let answering: Vec<&Identity> = after.iter()
                    .filter(|shown| shown.who().answers(&wish))
                    .map(|shown| &shown.identity)
                    .collect();
                let there = after.iter().any(|shown| shown.identity == pane.identity);
                let expected: Vec<&Identity> = there.then_some(&pane.identity).into_iter().collect();
                prop_assert_eq!(answering, expected);
            }
        }

        #[test]
        fn a_meaning_survives_being_stored(
            pid in any::<u32>(), start in any::<i64>(), number in any::<u32>(), pane_pid in any::<u32>(),
        ) {
            let pane = Meaning::Pane(Identity {
                server_pid: pid,
                server_start: start,
                pane: PaneId::parse(&format!("%{number}")).expect("a pane"),
                pane_pid,
            });
            let session = Meaning::Session {
                server_pid: pid,
                server_start: start,
                id: TmuxSession(number),
            };
            for meaning in [pane, session] {
                prop_assert_eq!(meaning.to_string().parse(), Ok(meaning));
            }
        }
    }
}
