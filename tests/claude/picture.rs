//! The picture of `assigner top` in the README, taken of a real screen with real agents:
//!
//! ```sh
//! ASSIGNER_PICTURE=$PWD/examples/top.svg cargo test --release --workspace --test e2e picture
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anstyle_svg::Term;

use super::*;
use crate::harness::finish;
use crate::harness::setup::git;
use crate::top::top;

/// Names the file into which the picture is written.
const PICTURE: &str = "ASSIGNER_PICTURE";

/// Writes a script into a directory of the desk.
fn script(desk: &Desk, dir: &str, name: &str, text: &str) {
    let path = format!("{}/{name}", desk.dir(dir));
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
}

#[needs(claude)]
#[test]
fn a_picture_of_the_fleet() {
    let desk = Desk::new(Version::Latest, &["shop", "site", "docs"]);
    let world = &desk.world;
    for (dir, branch) in [("shop", "main"), ("site", "redesign"), ("docs", "main")] {
        git(world, &desk.dir(dir), &["init", "-q", "-b", branch]);
        git(
            world,
            &desk.dir(dir),
            &["commit", "-q", "--allow-empty", "-m", "first"],
        );
    }
    script(&desk, "shop", "check", "echo '214 tests passed in 1.8 s'");
    script(
        &desk,
        "shop",
        "lint",
        "echo '3 warnings, 1 error: unused import' >&2; exit 2",
    );
    script(&desk, "shop", "load-test", "echo 'warming up'; sleep 600");
    let shop = desk.session_with("shop", &["--permission-mode", "default"]);
    let site = desk.session("site");
    let checks = world.session_in("checks", Shell::Bash, &desk.dir("shop"));
    world.session_in("docs", Shell::Bash, &desk.dir("docs"));
    let _daemon = world.daemon();
    desk.idle(&["shop", "site"]);
    let in_shop = |options: &[&str], command: &str| {
        world.shell_with(&[&["-w", &desk.dir("shop")], options].concat(), command)
    };
    world.completed(in_shop(&[], "./check"));
    world.until(in_shop(&[], "./lint"), "failed");
    let load = in_shop(&["--target", "checks"], "./load-test --users 500");
    world.until(load, "in_progress");
    // The model goes by the second line, which a list does not show.
    let asks = desk.prompt_with(
        &["--target", "shop"],
        "Index orders by customer, and measure it before and after.\nASK",
    );
    let works = desk.prompt_with(
        &["--target", "site", "-b", "redesign"],
        "Move the checkout page to the new layout.\nHOLD",
    );
    world.until(asks, "waiting_input");
    world.until(works, "in_progress");
    desk.prompt_with(&["--target", "site"], "Write the release notes for 2.4.");
    in_shop(
        &["--after", &load.to_string(), "-p", "5"],
        "./deploy staging",
    );
    world.shell_with(&["--at", "23:45", "--target", "docs"], "./publish");
    // Directories are those of a home.
    let home = text(&world.path("work").with_file_name(""));
    world.tmux(&["set-environment", "-g", "HOME", home.trim_end_matches('/')]);
    let top = top(world, ("140", "25"), &[]);
    for shown in [
        "Index orders",
        "checkout page",
        "release notes",
        "./deploy staging",
        "214 tests passed",
    ] {
        top.shows(shown);
    }
    patiently(|| {
        let screen = top.screen();
        match screen.contains("not looked at yet") {
            true => Err(screen),
            false => Ok(()),
        }
    });
    let mut capture = world.tmux_command();
    capture.args(["capture-pane", "-e", "-p", "-t", &top.id]);
    let screen = finish(&mut capture, b"").succeeded().text();
    let picture = Term::new().render_svg(&screen);
    for shown in ["<svg", "Index orders", "checks", "</svg>"] {
        assert!(picture.contains(shown), "{picture}");
    }
    if let Some(file) = std::env::var_os(PICTURE) {
        fs::write(file, &picture).expect("written");
    }
    for pane in [shop, site] {
        world.tmux(&["kill-pane", "-t", &pane.id]);
    }
    checks.keys(&["C-c"]);
    desk.model.release();
}
