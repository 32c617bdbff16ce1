//! What agents and their users write: profiles, screens, settings, reports, limits.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::hooks::{self, HookAgent};
use super::profile::Profile;
use super::report::{Report, ReportedState};
use super::screen::Screen;
use super::{Catalog, fuse, reset, screen};
use crate::fuzz::{FuzzTarget, is_one_line};

/// The targets of this module.
pub(crate) const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "profile",
        seeds: &["host/src/agents/profiles"],
        run: profile,
    },
    FuzzTarget {
        name: "screen",
        seeds: &[
            "tests/screens/aider",
            "tests/screens/claude",
            "tests/screens/codex",
            "tests/screens/gemini",
            "tests/screens/opencode",
            "tests/screens/qwen",
            "tests/screens/shell",
        ],
        run: screen,
    },
    FuzzTarget {
        name: "settings",
        seeds: &[],
        run: settings,
    },
    FuzzTarget {
        name: "report",
        seeds: &[],
        run: report,
    },
    FuzzTarget {
        name: "rate_limit",
        seeds: &[],
        run: rate_limit,
    },
];

/// A screen on which most things are that profiles look for.
const SHOWN: &str = "❯ say hello\n● hello\nesc to interrupt\n> \n───\n$ ";

/// A profile is read, or refused in one line with its place. Whatever it says, screens can be read by
/// it.
fn profile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Profile::read(&text) {
        Ok(profile) => {
            let _ = (profile.only_recognises(), profile.is_untested("1.2.3"));
            look(&profile, &Screen::read(SHOWN, Some((2, 3))));
            look(&profile.strict(), &Screen::read(SHOWN, None));
        }
        Err(error) => is_one_line(&error.to_string()),
    }
}

/// Any screen is read by a built-in profile. It has no more rows than it shows, and a draft in its
/// composer is never idle. The length of `data` decides which profile, and where the cursor is: so the
/// screens that are recorded are inputs as they are.
fn screen(data: &[u8]) {
    thread_local! {
        static CATALOG: Catalog = Catalog::built_in();
    }
    let text = String::from_utf8_lossy(data);
    let number = u32::try_from(data.len()).unwrap_or_default();
    let cursor = (!number.is_multiple_of(3)).then_some((number % 83, number % 47));
    let screen = Screen::read(&text, cursor);
    assert!(screen.lines().count() <= text.lines().count().max(1));
    CATALOG.with(|catalog| {
        let count = catalog.agents().count();
        let profile = catalog.agents().nth(data.len() % count);
        look(profile.expect("a profile"), &screen);
    });
}

/// Reads everything from a screen that a profile says how to read.
fn look(profile: &Profile, screen: &Screen) {
    let (says, why) = fuse::screen(profile, screen);
    let _ = fuse::title(profile, "⠸ app");
    if let Some(draft) = screen.draft(profile)
        && !draft.empty
    {
        assert_ne!(says, fuse::Says::Idle, "{why}: {draft:?}");
    }
    let prompt = "say hello";
    let _ = screen.holds(profile, prompt);
    let _ = screen.holds_part(profile, prompt);
    let _ = screen.is_near(profile, prompt);
    let _ = screen.line_holds(profile, prompt);
    let _ = screen.given(profile, prompt);
    let lines: Vec<&str> = screen.lines().collect();
    let _ = screen::given(profile, &lines, prompt);
    let _ = screen::answer(profile, &lines, prompt, true);
}

/// Settings of an agent take our hooks once, and give them back: what remains says the same as
/// before.
fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let command = |state: ReportedState| format!("'a' report --state {} --hook", state.name());
    for agent in [HookAgent::Claude, HookAgent::Codex, HookAgent::Gemini] {
        let Ok(with) = hooks::install(text, agent, &command) else {
            continue;
        };
        let ours = hooks::installed(&with).expect("settings");
        assert_eq!(ours.len(), agent.events().len());
        assert_eq!(hooks::install(&with, agent, &command).as_ref(), Ok(&with));
        let without = hooks::remove(&with).expect("settings");
        assert_eq!(hooks::installed(&without).map(|ours| ours.len()), Ok(0));
        assert_eq!(
            value(&hooks::remove(&without).expect("settings")),
            value(&without)
        );
        if hooks::installed(text).is_ok_and(|ours| ours.is_empty()) && !text.trim().is_empty() {
            assert_eq!(kept(value(&without)), kept(value(text)));
        }
    }
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Leaves out what may go with our hooks: lists and objects that are empty.
fn kept(mut value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let is_empty = |value: &Value| {
        value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    if let Value::Object(fields) = &mut value
        && let Some(Value::Object(hooks)) = fields.get_mut("hooks")
    {
        hooks.retain(|_, groups| !is_empty(groups));
        if hooks.is_empty() {
            fields.remove("hooks");
        }
    }
    value
}

/// A report that can be read is read back as it was.
fn report(data: &[u8]) {
    let _ = super::report::own_pane(&String::from_utf8_lossy(data), "%1");
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let written = serde_json::to_vec(&report).expect("a text");
        let again: Report = serde_json::from_slice(&written).expect("a report");
        assert_eq!(again, report);
        assert!(report.replaces(&again, Timestamp::UNIX_EPOCH));
        let _ = fuse::report(&report);
    }
}

/// The end of a limit is never in the past, and never further away than limits last.
fn rate_limit(data: &[u8]) {
    let now = Timestamp::from_second(1_760_000_000).expect("a time");
    let zoned = now.to_zoned(TimeZone::UTC);
    if let Some(until) = reset(&String::from_utf8_lossy(data), &zoned) {
        assert!(until >= now);
        assert!(now.duration_until(until) <= reset::FURTHEST);
    }
}
