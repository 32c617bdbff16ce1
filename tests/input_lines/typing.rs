//! A person who types while jobs arrive.

use std::fs;

use super::{KEY, told};
use crate::harness::{Shell, World, eventually, text};

/// A person types at any moment while a job is handed over: what was typed stays in the line,
/// complete, and never runs. `ASSIGNER_JOBS` are more of them than usual.
fn typing_meets_jobs(shell: Shell) {
    if !shell.is_installed() {
        return;
    }
    let world = World::new();
    let name = shell.program();
    let times = std::env::var("ASSIGNER_JOBS").map_or(Ok(150), |text| text.parse());
    let times: usize = times.expect("a number");
    let seed = std::env::var("ASSIGNER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = fastrand::Rng::with_seed(seed);
    let (line, ran, marks) = (
        world.path("line"),
        world.path("unknown"),
        world.path("mark"),
    );
    let (line_path, ran_path) = (text(&line), text(&ran));
    let init = world.assigner(&["shell-init", name]).succeeded().text();
    let rc = match shell {
        Shell::Bash => format!(
            "PS1='> '\nshow() {{ printf '%s.' \"$READLINE_LINE\" > {line_path}; READLINE_LINE=; }}\n\
             bind -x '\"\\C-xw\": show'\ncommand_not_found_handle() {{ echo \"$*\" >> {ran_path}; }}\n{init}"
        ),
        Shell::Zsh => format!(
            "PS1='> '\nshow() {{ printf '%s.' \"$BUFFER\" > {line_path}; BUFFER=; }}\nzle -N show\n\
             bindkey -e\nbindkey '^Xw' show\ncommand_not_found_handler() {{ echo \"$*\" >> {ran_path}; }}\n{init}"
        ),
        _ => format!(
            "function fish_prompt; echo -n '> '; end\n\
             function show; printf '%s.' (commandline) > {line_path}; commandline -r ''; end\n\
             bind \\cxw show\nfunction fish_command_not_found; echo $argv >> {ran_path}; end\n{init}"
        ),
    };
    let home = world.mkdir("rc");
    let file = world.path("rc/.zshrc");
    fs::write(&file, rc).expect("written");
    let file = text(&file);
    let command = match shell {
        Shell::Bash => format!("exec bash --noprofile --rcfile '{file}' -i"),
        Shell::Zsh => format!("exec env ZDOTDIR='{home}' zsh -d -i"),
        _ => format!("exec fish --no-config -C 'source {file}'"),
    };
    world.tmux(&["new-session", "-d", "-s", "one", "-x", "200", &command]);
    let pid = world.tmux(&["display-message", "-p", "-t", "one", "#{pane_pid}"]);
    let told = told();
    let at_prompt = |prompts: u64| {
        eventually(|| {
            let text = fs::read_to_string(told.join(&pid)).unwrap_or_default();
            let count = text
                .split(' ')
                .nth(2)
                .and_then(|count| count.parse::<u64>().ok());
            match count {
                Some(count) if count > prompts && text.contains(" prompt ") => Ok(count),
                _ => Err(format!("{text:?} after {prompts}")),
            }
        })
    };
    let mut prompts = at_prompt(0);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..times {
        let _ = fs::remove_file(told.join(format!("{pid}.said")));
        let job = format!(" echo {round} >> '{}'\n", text(&marks));
        fs::write(told.join(format!("{pid}.job")), job).expect("offered");
        // The key comes before, between or after what is typed.
        let typed: String = (0..random.usize(0..6))
            .map(|_| random.char('a'..='f'))
            .collect();
        let at = random.usize(0..=typed.len());
        let [codes @ .., flag] = KEY;
        let mut keys = Vec::new();
        for (index, letter) in typed.char_indices().chain([(typed.len(), '.')]) {
            if index == at {
                keys.push(format!("send-keys -t one {flag} {}", codes.join(" ")));
            }
            if index < typed.len() {
                keys.push(format!("send-keys -t one -l {letter}"));
            }
        }
        let mut rest = keys.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..=rest.len()));
            let path = world.path("keys.tmux");
            fs::write(&path, now.join("\n")).expect("written");
            world.tmux(&["source-file", &text(&path)]);
            rest = later;
        }
        let said = eventually(|| {
            let said = fs::read_to_string(told.join(format!("{pid}.said"))).unwrap_or_default();
            if said.ends_with('\n') {
                Ok(said)
            } else {
                Err(format!("round {round} of seed {seed}"))
            }
        });
        assert_eq!(
            said == "taken\n",
            at == 0,
            "round {round} of seed {seed}: {typed:?} {at} {said}"
        );
        if said == "taken\n" {
            taken += 1;
            prompts = at_prompt(prompts);
        } else {
            refused += 1;
        }
        let _ = fs::remove_file(&line);
        world.tmux(&["send-keys", "-t", "one", "C-x", "w"]);
        eventually(|| match fs::read_to_string(&line) {
            Ok(found) if found == format!("{typed}.") => Ok(()),
            other => Err(format!(
                "round {round} of seed {seed}: {other:?}, not {typed:?}"
            )),
        });
    }
    let marks = fs::read_to_string(&marks)
        .unwrap_or_default()
        .lines()
        .count();
    println!("{name}, seed {seed}: {times} jobs, {taken} taken, {refused} refused");
    assert_eq!(marks, taken, "seed {seed}");
    assert!(
        !ran.exists(),
        "seed {seed}: {:?} ran",
        fs::read_to_string(&ran)
    );
}

#[test]
fn typing_meets_jobs_in_bash() {
    typing_meets_jobs(Shell::Bash);
}

#[test]
fn typing_meets_jobs_in_zsh() {
    typing_meets_jobs(Shell::Zsh);
}

#[test]
fn typing_meets_jobs_in_fish() {
    typing_meets_jobs(Shell::Fish);
}
