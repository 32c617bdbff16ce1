//! Shells, and a git, that a machine may not have. Many tests run in each installed shell; the
//! missing ones are counted and named here.

use crate::harness::{Shell, World, finish};
use assigner_needs::needs;

/// Asserts that a session in this shell takes a task.
fn takes_a_task(shell: Shell) {
    let world = World::new();
    world.session("only", shell);
    let _daemon = world.daemon();
    let id = world.shell_with(&["--target", "only"], "echo there");
    assert_eq!(world.completed(id)["output"], "there\n");
}

#[needs(zsh)]
#[test]
fn zsh_is_there() {
    takes_a_task(Shell::Zsh);
}

#[needs(fish)]
#[test]
fn fish_is_there() {
    takes_a_task(Shell::Fish);
}

#[needs(dash)]
#[test]
fn dash_is_there() {
    takes_a_task(Shell::Dash);
}

#[needs(reftable)]
#[test]
fn git_makes_the_newer_format() {
    let world = World::new();
    let dir = world.mkdir("table");
    let init = ["init", "-q", "--ref-format=reftable"];
    finish(world.command("git").args(init).arg(dir), b"").succeeded();
}
