//! `service`: the daemon as a unit of the system, here with a small manager in systemd's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Output, Shell, World, eventually, finish, text};

/// Puts a `systemctl` into a directory of its own that obeys the few commands that are used, and returns that
/// directory. It starts what the unit says, with no variables but the unit's.
fn manager(world: &World) -> String {
    let tools = world.mkdir("tools");
    let place = text(&world.path("."));
    let script = format!(
        r#"#!/bin/bash
echo "$*" >> {place}/asked
unit={place}/home/.config/systemd/user/assigner.service
end() {{ [ -e {place}/pid ] && kill "$(cat {place}/pid)"; rm -f {place}/pid; }}
case "$*" in
*is-active*) [ -e {place}/pid ] && kill -0 "$(cat {place}/pid)" ;;
*restart*)
    end
    readarray -t variables < <(sed -n 's/^Environment="\(.*\)"$/\1/p' "$unit")
    eval "words=($(sed -n 's/^ExecStart=//p' "$unit"))"
    env -i HOME={place}/home "${{variables[@]}}" setsid "${{words[@]}}" 2> {place}/service.log < /dev/null > /dev/null &
    echo $! > {place}/pid ;;
*disable*) end ;;
*refused*) exit 1 ;;
esac
"#
    );
    let path = format!("{tools}/systemctl");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
    tools
}

fn service(world: &World, tools: &str, args: &[&str]) -> Output {
    let mut command: Command = world.binary();
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{tools}:{path}"))
        .arg("service")
        .args(args);
    finish(&mut command, b"")
}

const UNIT: &str = "home/.config/systemd/user/assigner.service";

#[test]
#[cfg(target_os = "linux")]
fn it_is_installed_runs_and_is_removed() {
    let world = World::new();
    let tools = manager(&world);
    world.session("only", Shell::Bash);
    let unit = world.path(UNIT);
    let none = service(&world, &tools, &["status"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.text().contains("service install"), "{none:?}");
    service(&world, &tools, &["remove", "--yes"]).refused(1);
    // Without a terminal nobody can be asked.
    let unasked = service(&world, &tools, &["install"]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(!unit.exists());
    // A daemon of a terminal stays one.
    let mut daemon = world.daemon();
    let refused = service(&world, &tools, &["install", "--yes"]).refused(4);
    assert!(refused.stderr.contains("assigner stop"), "{refused:?}");
    assert!(!unit.exists());
    world.assigner(&["stop"]).succeeded();
    daemon.ends();
    let installed = service(&world, &tools, &["install", "--yes"]).succeeded();
    assert!(installed.text().contains("assigner logs"), "{installed:?}");
    let runs = || {
        eventually(|| {
            let pid = &world.json(&["status"])["daemon"]["pid"];
            pid.as_u64().ok_or_else(|| pid.to_string())
        })
    };
    let first = runs();
    assert_eq!(world.run("echo hello"), "hello\n");
    let told = service(&world, &tools, &["status"]).succeeded();
    assert!(told.text().contains("and runs"), "{told:?}");
    // The same again is that of an upgrade: it is started again.
    service(&world, &tools, &["install", "--yes"]).succeeded();
    eventually(|| match runs() {
        pid if pid == first => Err("the same".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(world.run("echo again"), "again\n");
    // The service is not replaced by a daemon that nobody starts again.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut replace = world.binary();
    replace
        .env("PATH", format!("{tools}:{path}"))
        .args(["run", "--daemon", "--replace"]);
    let refused = finish(&mut replace, b"").refused(4);
    assert!(refused.stderr.contains("service install"), "{refused:?}");
    service(&world, &tools, &["remove", "--yes"]).succeeded();
    assert!(!unit.exists());
    eventually(|| match &world.json(&["status"])["daemon"]["pid"] {
        pid if pid.is_null() => Ok(()),
        pid => Err(pid.to_string()),
    });
    let asked = fs::read_to_string(world.path("asked")).expect("a file");
    assert!(asked.ends_with("--user daemon-reload\n"), "{asked}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_in_the_way_is_told_and_nothing_is_lost() {
    let world = World::new();
    // Without a manager the unit is there, and it is said what failed.
    let nothing = world.mkdir("nothing");
    let mut command = world.binary();
    command
        .env("PATH", &nothing)
        .args(["service", "install", "--yes"]);
    let failed = finish(&mut command, b"");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.stderr.contains("`systemctl` cannot be found"),
        "{failed:?}"
    );
    assert!(failed.stderr.contains("assigner.service"), "{failed:?}");
    // And it can be taken away again.
    let mut remove = world.binary();
    remove
        .env("PATH", &nothing)
        .args(["service", "remove", "--yes"]);
    finish(&mut remove, b"").succeeded();
    assert!(!world.path(UNIT).exists());
    // A unit of somebody else's.
    let tools = manager(&world);
    let unit = world.path(UNIT);
    fs::write(&unit, "[Service]\nExecStart=/bin/mine\n").expect("written");
    for args in [["install", "--yes"], ["remove", "--yes"]] {
        let refused = service(&world, &tools, &args).refused(1);
        assert!(
            refused.stderr.contains("not written by assigner"),
            "{refused:?}"
        );
    }
    let kept = fs::read_to_string(&unit).expect("a file");
    assert_eq!(kept, "[Service]\nExecStart=/bin/mine\n");
}
