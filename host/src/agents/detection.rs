//! The built-in profiles against screens of real agents: how often the title and the screen alone
//! reveal the state. `tests/screens/README.md` says where the screens come from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::catalog::Catalog;
use super::fuse::{self, Signal, SignalSource};
use super::profile::Profile;
use super::screen::Screen;
use crate::model::session::Activity;

const SCREENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/screens");

/// The columns of the tables.
const STATES: [Activity; 5] = [
    Activity::Idle,
    Activity::Busy,
    Activity::WaitingInput,
    Activity::Attended,
    Activity::Unknown,
];

/// What is known about a screen, stored beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Truth {
    title: String,
    cursor: Option<(u32, u32)>,
    state: Activity,
    recorded: String,
}

/// A screen whose state is known.
struct Shot {
    /// The profile, and what the screen shows.
    name: String,
    profile: String,
    screen: Screen,
    truth: Truth,
}

impl Shot {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a screen");
        let truth = fs::read_to_string(path.with_extension("json")).expect("what is true of it");
        let truth: Truth = serde_json::from_str(&truth)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = |path: &Path| {
            let name = path.file_stem().and_then(|name| name.to_str());
            name.expect("a name").to_owned()
        };
        let profile = name(path.parent().expect("a directory"));
        Self {
            name: format!("{profile}/{}", name(path)),
            profile,
            screen: Screen::read(&text, truth.cursor),
            truth,
        }
    }

    fn is_real(&self) -> bool {
        !self.truth.recorded.starts_with("drawn")
    }

    fn judged(&self, profile: &Profile) -> Activity {
        let now = Timestamp::from_second(1_000).expect("a time");
        let (title, shown) = (
            fuse::title(profile, &self.truth.title),
            fuse::screen(profile, &self.screen),
        );
        let signals = [(SignalSource::Title, title), (SignalSource::Screen, shown)];
        let signals = signals.map(|(source, (says, detail))| Signal {
            source,
            says,
            since: now,
            detail: detail.into(),
        });
        fuse::fuse(&signals, now).activity
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn shots() -> Vec<Shot> {
    let directories = files(Path::new(SCREENS)).into_iter();
    let directories = directories.filter(|path| path.is_dir());
    let files = directories.flat_map(|directory| files(&directory));
    let screens = files.filter(|path| path.extension().is_some_and(|ending| ending == "ansi"));
    screens.map(|path| Shot::read(&path)).collect()
}

fn shot(name: &str) -> Shot {
    Shot::read(&Path::new(SCREENS).join(format!("{name}.ansi")))
}

fn name(state: Activity) -> String {
    let name = serde_json::to_value(state).expect("a name");
    name.as_str().expect("a text").to_owned()
}

/// Formats the counts: a row for each true state, a column for each state that was judged.
fn tables(counts: &BTreeMap<String, BTreeMap<(usize, usize), usize>>) -> String {
    let mut text = String::new();
    for (profile, cells) in counts {
        let screens: usize = cells.values().sum();
        let head = STATES.map(name).join(" | ");
        writeln!(text, "| {profile}: {screens} | {head} |").expect("written");
        writeln!(text, "|---{}|", "|--:".repeat(STATES.len())).expect("written");
        for (row, state) in STATES.iter().enumerate() {
            let cell = |column: usize| match cells.get(&(row, column)) {
                Some(count) => count.to_string(),
                None => "·".to_owned(),
            };
            let cells: Vec<String> = (0..STATES.len()).map(cell).collect();
            writeln!(text, "| {} | {} |", name(*state), cells.join(" | ")).expect("written");
        }
        text.push('\n');
    }
    text
}

#[test]
fn screens_are_judged_right_and_never_idle_where_they_are_not() {
    let catalog = Catalog::built_in();
    let place = |state: Activity| {
        let place = STATES.iter().position(|&other| other == state);
        place.expect("a state that a screen can have")
    };
    let mut counts: BTreeMap<String, BTreeMap<(usize, usize), usize>> = BTreeMap::new();
    let (mut false_idle, mut missed, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let shots = shots();
    for shot in &shots {
        let profile = &catalog.get(&shot.profile).expect("its profile").profile;
        let (is, judged) = (shot.truth.state, shot.judged(profile));
        let cells = counts.entry(shot.profile.clone()).or_default();
        *cells.entry((place(is), place(judged))).or_default() += 1;
        if is == judged {
            continue;
        }
        let told = format!("{}: {}", shot.name, name(judged));
        if judged == Activity::Idle {
            false_idle.push(told);
        } else if is == Activity::Idle && shot.is_real() {
            missed.push(told);
        } else {
            other.push(told);
        }
    }
    println!("{}", tables(&counts));
    println!(
        "judged otherwise, and not as idle:\n  {}",
        other.join("\n  ")
    );
    assert_eq!(false_idle, [""; 0], "judged idle, and are not");
    assert_eq!(missed, [""; 0], "idle, and not judged so");
    assert!(shots.len() >= 60, "{}", shots.len());
    insta::assert_snapshot!(tables(&counts), @r"
    | aider: 23 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 8 | · | · | · | · |
    | busy | · | 2 | · | 1 | 1 |
    | waiting_input | · | · | 4 | · | · |
    | attended | · | · | · | 4 | · |
    | unknown | · | · | · | 1 | 2 |

    | claude: 43 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 10 | · | · | · | · |
    | busy | · | 9 | · | · | · |
    | waiting_input | · | · | 9 | · | · |
    | attended | · | · | · | 8 | 1 |
    | unknown | · | · | · | · | 6 |

    | cline: 26 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 9 | · | · | · | · |
    | busy | · | 6 | · | · | · |
    | waiting_input | · | · | 4 | · | · |
    | attended | · | · | · | 7 | · |
    | unknown | · | · | · | · | · |

    | codex: 43 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 14 | · | · | · | · |
    | busy | · | 5 | · | · | · |
    | waiting_input | · | · | 8 | · | · |
    | attended | · | · | · | 10 | · |
    | unknown | · | · | · | 2 | 4 |

    | comet: 8 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 1 | · | · | · | · |
    | busy | · | 1 | · | · | · |
    | waiting_input | · | · | 2 | · | · |
    | attended | · | · | · | 2 | · |
    | unknown | · | · | · | · | 2 |

    | copilot: 29 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 9 | · | · | · | · |
    | busy | · | 7 | · | · | · |
    | waiting_input | · | · | 5 | · | · |
    | attended | · | · | · | 8 | · |
    | unknown | · | · | · | · | · |

    | gemini: 32 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 8 | · | · | · | · |
    | busy | · | 6 | · | · | · |
    | waiting_input | · | · | 7 | · | · |
    | attended | · | · | · | 9 | · |
    | unknown | · | · | · | · | 2 |

    | kimi: 22 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 7 | · | · | · | · |
    | busy | · | 5 | · | · | · |
    | waiting_input | · | · | 3 | · | · |
    | attended | · | · | · | 7 | · |
    | unknown | · | · | · | · | · |

    | ollama: 13 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 2 | · | · | · | · |
    | busy | · | 2 | · | 1 | · |
    | waiting_input | · | · | · | · | · |
    | attended | · | · | · | 4 | · |
    | unknown | · | · | · | 1 | 3 |

    | opencode: 25 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 7 | · | · | · | · |
    | busy | · | 3 | · | · | · |
    | waiting_input | · | · | 2 | · | 1 |
    | attended | · | · | · | 9 | · |
    | unknown | · | · | · | · | 3 |

    | qwen: 26 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | 8 | · | · | · | · |
    | busy | · | 5 | · | · | · |
    | waiting_input | · | · | 6 | · | · |
    | attended | · | · | · | 6 | 1 |
    | unknown | · | · | · | · | · |

    | shell: 7 | idle | busy | waiting_input | attended | unknown |
    |---|--:|--:|--:|--:|--:|
    | idle | · | · | · | · | · |
    | busy | · | · | · | · | · |
    | waiting_input | · | · | · | · | · |
    | attended | · | · | · | · | · |
    | unknown | · | · | · | · | 7 |
    ");
    // The report contains the same tables.
    let report = include_str!("../../../tests/conformance/REPORT.md");
    for line in tables(&counts).lines() {
        assert!(report.contains(line), "the report lacks {line}");
    }
}

#[test]
fn a_dialog_tells_what_it_is_about() {
    let catalog = Catalog::built_in();
    for (name, expected) in [
        (
            "opencode/waiting-approval-command",
            "△ Permission required ← Access external directory /home/me/projects Patterns \
             - /home/me/projects/*: Allow once Allow always Reject",
        ),
        (
            "opencode/waiting-question",
            "Which database should it use? 1. SQLite One file 2. Postgres A server",
        ),
        ("gemini/waiting-approval-command", "Allow execution of"),
        ("claude/waiting-approval-command", "Do you want to proceed?"),
    ] {
        let shot = shot(name);
        let profile = &catalog.get(&shot.profile).expect("its profile").profile;
        let (_, asks) = fuse::screen(profile, &shot.screen);
        assert!(asks.contains(expected), "{name}: {asks}");
    }
}

#[test]
fn what_is_no_agent_is_idle_to_no_profile() {
    let catalog = Catalog::built_in();
    for shot in shots().iter().filter(|shot| shot.profile == "shell") {
        for profile in catalog.agents() {
            let judged = shot.judged(profile);
            assert_ne!(judged, Activity::Idle, "{} by {}", shot.name, profile.name);
        }
    }
}

#[test]
fn a_prompt_that_was_pasted_is_found_in_the_composer() {
    let catalog = Catalog::built_in();
    let holds = |name: &str, text: &str| {
        let shot = shot(name);
        let profile = &catalog.get(&shot.profile).expect("its profile").profile;
        shot.screen.holds(profile, text)
    };
    let two = "a draft\nof two lines";
    for agent in ["aider", "claude", "gemini", "opencode", "qwen"] {
        let name = format!("{agent}/attended-draft");
        assert!(holds(&name, two), "{name}");
        assert!(!holds(&name, "another"), "{name}");
    }
    let blank_between = "\n\nafter blank lines";
    for agent in ["claude", "gemini", "opencode"] {
        let name = format!("{agent}/attended-leading-blank-lines");
        assert!(holds(&name, blank_between), "{name}");
    }
    let paragraphs = "first paragraph\n\nsecond paragraph\n- a list\n\nthe last line";
    for agent in ["aider", "claude", "codex", "gemini", "opencode"] {
        let name = format!("{agent}/attended-paragraphs");
        assert!(holds(&name, paragraphs), "{name}");
    }
    let long = "line of text\n".repeat(200);
    for name in [
        "claude/attended-big-paste",
        "codex/attended-long-paste",
        "gemini/attended-big-paste",
        "opencode/attended-big-paste",
    ] {
        assert!(holds(name, &long), "{name}");
    }
    for shot in shots() {
        let profile = &catalog.get(&shot.profile).expect("its profile").profile;
        let free = shot.truth.state == Activity::Idle;
        assert!(!free || !shot.screen.holds(profile, two), "{}", shot.name);
    }
}
