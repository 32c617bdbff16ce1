//! A toy agent: a script with a profile, which shows its state in its title.

use std::fs;

use crate::harness::agents::session_running;
use crate::harness::{Pane, World, text};

/// An agent that repeats its input in capitals. After `!` it runs a command line, and `menu` shows
/// a dialog.
const TOY_AGENT: &str = r#"
title() { printf '\033]2;%s\007' "$1"; }
title ready
while printf '> ' && IFS= read -r line; do
    title working
    printf 'one moment\n'
    sleep 1
    case $line in
    '!'*) eval "${line#!}" ;;
    menu)
        printf 'Proceed? [y/n]'
        IFS= read -rs key
        printf '\033[2J\033[H'
        sleep 1
        printf 'answer: pressed %s\n' "$key"
        ;;
    *) printf 'answer: %s\n' "$(printf '%s' "$line" | tr a-z A-Z)" ;;
    esac
    title ready
done
"#;

pub(super) const TOY: &str = r#"name = "toy"
summary = "an agent of tests"

[recognise]
programs = ["toy-agent"]

[state]
busy-title = ['^working$']
waiting-screen = ['^Proceed\? \[y/n\]']

[composer]
line = '^>(?: (?P<draft>.*))?$'

[paste]
mode = "line"
pause = "50ms"

[turn]
settle = "300ms"
answer = '^answer: (?P<text>.*)$'
"#;

/// The toy agent of a world.
pub(crate) struct Toy<'a> {
    world: &'a World,
    script: String,
}

impl<'a> Toy<'a> {
    /// Adds the toy and its profile to a world.
    pub(crate) fn new(world: &'a World) -> Self {
        world.has_profile("toy", TOY);
        let script = world.path("work/toy-agent");
        fs::write(&script, TOY_AGENT).expect("a script");
        let script = text(&script);
        Self { world, script }
    }

    /// Starts the toy in a session, and waits for its prompt.
    pub(crate) fn session(&self, name: &str, dir: &str) -> Pane<'a> {
        let pane = session_running(self.world, name, &["bash", &self.script], dir);
        pane.prompt();
        pane.has("#{pane_title}", "ready");
        pane
    }
}
