//! Repositories and the configuration file of a world.

use std::fs;

use super::{World, finish};

/// Runs git in a directory, without any user's settings, and returns what it printed.
#[track_caller]
pub(crate) fn git(world: &World, dir: &str, args: &[&str]) -> String {
    let output = finish(
        world
            .command("git")
            .args(["-C", dir, "-c", "user.name=A Person"])
            .args(["-c", "user.email=a@person.example"])
            .args(["-c", "protocol.file.allow=always"])
            .args(args),
        b"",
    );
    output.succeeded().text().trim_end().to_owned()
}

/// Makes a repository with a commit, on a branch.
pub(crate) fn repository(world: &World, dir: &str, branch: &str) -> String {
    let dir = world.mkdir(dir);
    git(world, &dir, &["init", "-q", "-b", branch]);
    let commit = ["commit", "-q", "--allow-empty", "-m", "first"];
    git(world, &dir, &commit);
    dir
}

/// Writes the configuration file where every command and the daemon look for it.
pub(crate) fn configure(world: &World, settings: &str) {
    let dir = world.mkdir("home/.config/assigner");
    fs::write(format!("{dir}/config.toml"), settings).expect("a file");
}
