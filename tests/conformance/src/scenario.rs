//! What the agents do while prompts are delivered to them.

use crate::payload::Payload;

/// A way in which deliveries go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The options with which its agents are started.
    options: &'static [&'static str],
    /// The options of the last agent, if there is more than one.
    last: &'static [&'static str],
    /// How its agents are given prompts.
    pub way: Way,
    /// True if prompts get a sign, because its agents rewrite them.
    pub is_signed: bool,
    /// True if its agents write transcripts.
    pub has_transcript: bool,
    /// How long a task may take, in seconds.
    pub timeout: Option<u64>,
    /// What the suite does to the panes meanwhile.
    pub disturbance: Disturbance,
}

/// How an agent is given prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the composer that it draws.
    Composer,
    /// As lines that it reads from the terminal, in canonical mode.
    Lines,
    /// On the standard input of a process of its own, which a shell starts.
    Headless,
}

/// What is done from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    None,
    /// They are switched into copy mode, and out of it again.
    CopyMode,
    /// A process that has died is started again after a while.
    Respawn,
    /// The daemon is killed at random moments, and started again.
    KillDaemon,
}

/// An agent that disturbs nobody.
const PLAIN: Scenario = Scenario {
    name: "plain",
    about: "nothing happens",
    options: &[],
    last: &[],
    way: Way::Composer,
    is_signed: false,
    has_transcript: true,
    timeout: None,
    disturbance: Disturbance::None,
};

/// An agent that needs no terminal, in the shells of people.
const HEADLESS: Scenario = Scenario {
    name: "headless",
    about: "agents are asked without a terminal, and nothing happens",
    options: &["--headless"],
    way: Way::Headless,
    has_transcript: false,
    ..PLAIN
};

/// All scenarios.
pub const ALL: &[Scenario] = &[
    PLAIN,
    Scenario {
        name: "burst-120",
        about: "Enter within 120 ms of a paste is a newline",
        options: &["--burst=120"],
        ..PLAIN
    },
    Scenario {
        name: "slow-start",
        about: "agents restart and take a while; one shows an unknown welcome forever",
        options: &[
            "--start-delay=900",
            "--late-bracketed=400",
            "--restart-after=2",
        ],
        last: &["--onboarding"],
        ..PLAIN
    },
    Scenario {
        name: "dialog-after-paste",
        about: "a dialog comes up together with the pasted text",
        options: &["--dialog=after-paste", "--dialog-for=900"],
        ..PLAIN
    },
    Scenario {
        name: "dialog-on-paste",
        about: "a dialog comes up when a paste begins",
        options: &["--dialog=on-paste", "--dialog-for=900"],
        ..PLAIN
    },
    Scenario {
        name: "dialog-random",
        about: "dialogs come up at any step, each with a chance of one in five",
        options: &["--dialog=random:0.2", "--dialog-for=600", "--turn=200"],
        ..PLAIN
    },
    Scenario {
        name: "draft",
        about: "a person types drafts and takes them away; one stays forever",
        options: &[
            "--draft=my own idea",
            "--draft-after=300",
            "--draft-for=700",
            "--draft-every=1700",
        ],
        last: &["--draft=do not touch"],
        ..PLAIN
    },
    Scenario {
        name: "draft-while-pasting",
        about: "a person's letters come together with one paste in three",
        options: &[
            "--draft=wait, ",
            "--draft-on-paste=0.33",
            "--draft-for=900",
            "--collapse=400",
        ],
        ..PLAIN
    },
    Scenario {
        name: "copy-mode",
        about: "panes are switched into copy mode and out again",
        disturbance: Disturbance::CopyMode,
        ..PLAIN
    },
    Scenario {
        name: "dies-on-paste",
        about: "an agent dies at one paste in four, and is started again",
        options: &["--die=on-paste", "--die-chance=0.25"],
        disturbance: Disturbance::Respawn,
        ..PLAIN
    },
    Scenario {
        name: "swallow-enter",
        about: "the first Enter before each turn does nothing",
        options: &["--swallow-enter=1"],
        ..PLAIN
    },
    Scenario {
        name: "slow-enter",
        about: "agents take a while for Enter, and a dialog comes up with the turn",
        options: &[
            "--slow-enter=1500",
            "--dialog=on-submit",
            "--dialog-for=600",
        ],
        ..PLAIN
    },
    Scenario {
        name: "redraw",
        about: "everything is redrawn from an empty screen, five times a second",
        options: &["--redraw=200"],
        ..PLAIN
    },
    Scenario {
        name: "title-noise",
        about: "the title changes all the time",
        options: &["--title-noise=150"],
        ..PLAIN
    },
    Scenario {
        name: "alternate",
        about: "agents draw on the alternate screen",
        options: &["--alternate", "--no-break"],
        ..PLAIN
    },
    Scenario {
        name: "canonical",
        about: "agents read lines in canonical mode: anything that is not one line must be refused",
        options: &["--canonical", "--turn=200"],
        way: Way::Lines,
        has_transcript: false,
        ..PLAIN
    },
    Scenario {
        name: "no-transcript",
        about: "agents write no transcript",
        options: &["--turn=300"],
        has_transcript: false,
        ..PLAIN
    },
    Scenario {
        name: "rewrite",
        about: "agents rewrite each prompt but for its sign",
        options: &["--rewrite", "--turn=300"],
        is_signed: true,
        ..PLAIN
    },
    Scenario {
        name: "collapse",
        about: "a paste of more than 200 characters is shown as a summary",
        options: &["--collapse=200"],
        ..PLAIN
    },
    HEADLESS,
    Scenario {
        name: "headless-fails",
        about: "every other agent without a terminal dies, prints an error, a part, something else, or \
                nothing",
        options: &[
            "--headless",
            "--fails=dies-before,dies-after,error,quiet-error,rubbish,half,nothing",
        ],
        ..HEADLESS
    },
    Scenario {
        name: "headless-hangs",
        about: "one agent in three without a terminal never ends, until a time-out of two seconds ends it",
        options: &["--headless", "--fails=hangs", "--fail-chance=0.33"],
        timeout: Some(2),
        ..HEADLESS
    },
    Scenario {
        name: "headless-killed",
        about: "the daemon is killed at random moments while agents without a terminal work",
        options: &["--headless", "--turn=300"],
        disturbance: Disturbance::KillDaemon,
        ..HEADLESS
    },
];

impl Scenario {
    /// Returns the scenario with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|scenario| scenario.name == name)
    }

    /// Returns the options of the agent at position `index` of `count`.
    #[must_use]
    pub fn options(&self, index: usize, count: usize) -> Vec<String> {
        let is_last = count > 1 && index + 1 == count && !self.last.is_empty();
        let chosen = if is_last { self.last } else { self.options };
        let mut options: Vec<String> = chosen.iter().map(|&option| option.to_owned()).collect();
        // Every other agent shows in its title what it does.
        let has_title = index.is_multiple_of(2) && self.way == Way::Composer;
        if has_title && !options.iter().any(|option| option.starts_with("--title")) {
            options.push("--title".to_owned());
        }
        options
    }

    /// Returns whether a prompt can reach such an agent at all.
    #[must_use]
    pub fn can_take(&self, payload: &Payload) -> bool {
        if payload.has_control_bytes() {
            return false;
        }
        let text = payload.text.trim_end_matches('\n');
        self.way != Way::Lines || (text.len() < 4096 && !text.contains('\n'))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::fake::options::Options;

    #[test]
    fn every_scenario_is_understood_by_the_agent() {
        for scenario in ALL {
            assert_eq!(Scenario::named(scenario.name), Some(*scenario));
            for index in 0..3 {
                let options = scenario.options(index, 3);
                let words = std::iter::once("fake-agent".to_owned()).chain(options);
                let parsed = Options::try_parse_from(words).expect("options of the agent");
                let way = match (parsed.canonical, parsed.headless) {
                    (true, _) => Way::Lines,
                    (_, true) => Way::Headless,
                    _ => Way::Composer,
                };
                assert_eq!(way, scenario.way);
            }
        }
    }
}
