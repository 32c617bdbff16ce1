//! Every kind of line, in every shell and mode, with every prompt.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::{Hall, IN_VI, Kind, Line, MOVING, Mode, SILENT, Seat, lines, row};
use crate::harness::{Shell, World};

fn every_line(shell: Shell, mode: Mode) {
    if !shell.is_installed() {
        return;
    }
    let world = World::new();
    let hall = Hall::open(&world, shell, mode, true);
    let tells = |seat: &Seat| {
        fs::read_to_string(hall.told.join(seat.pid.to_string()))
            .is_ok_and(|text| text.contains(" prompt "))
    };
    hall.settles();
    let began = Instant::now();
    let ought = |seat: &&Seat| !SILENT.contains(&seat.prompt.as_str());
    while !hall.seats.iter().filter(ought).all(tells) && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let silent: Vec<&str> = hall
        .seats
        .iter()
        .filter(|seat| !tells(seat))
        .map(|seat| seat.prompt.as_str())
        .collect();
    let mut wrong = Vec::new();
    for prompt in silent {
        if !SILENT.contains(&prompt) {
            wrong.push(format!("{prompt}: it never tells"));
        }
    }
    let mut table = String::new();
    for line in lines(shell, mode) {
        enter(&hall, mode, &line);
        let mut rounds = vec![""];
        // What is not a line of the editor has no mode of it.
        if mode == Mode::Vi && line.kind != Kind::Other {
            rounds.push(" in command mode");
        }
        for (number, round) in rounds.into_iter().enumerate() {
            let is_command = number > 0;
            if is_command {
                // A draft is still there; a job took the place of an empty line.
                if line.kind == Kind::Empty {
                    enter(&hall, mode, &line);
                }
                hall.press("Escape");
            }
            let name = format!("{}{round}", line.name);
            let before = hall.settles();
            let verdicts = hall.verdicts();
            let idle = |seat: &&Seat| {
                tells(seat)
                    && verdicts
                        .get(&seat.prompt)
                        .is_some_and(|status| status == "idle")
            };
            let asked: Vec<&Seat> = hall.seats.iter().filter(idle).collect();
            let said = hall.ask(&asked, &name);
            let after = hall.settles();
            let mut taken = 0;
            for (seat, said) in asked.iter().zip(&said) {
                let place = format!("{}, {name}", seat.prompt);
                let ran = hall.ran(seat, &name);
                taken += usize::from(said == "taken");
                match (line.kind, said.as_str(), ran) {
                    (_, "draft", 0)
                        if line.name == "C-x" && IN_VI.contains(&seat.prompt.as_str()) => {}
                    (Kind::Empty, "taken", 1)
                    | (Kind::Draft, "draft", 0)
                    | (Kind::Draft | Kind::Other, "unfinished", 0) => {}
                    _ => wrong.push(format!("{place}: it said {said:?}, and {ran} jobs ran")),
                }
            }
            for (index, seat) in hall.seats.iter().enumerate() {
                let asked = asked.iter().any(|asked| asked.pid == seat.pid);
                if line.kind == Kind::Empty && tells(seat) && !asked {
                    wrong.push(format!(
                        "{}, {name}: it is not idle: {:?}",
                        seat.prompt,
                        verdicts.get(&seat.prompt)
                    ));
                }
                // If the cursor is on a letter and not after it, readline redraws the row.
                if line.kind == Kind::Draft
                    && asked
                    && !is_command
                    && !MOVING.iter().any(|moves| seat.prompt.contains(moves))
                    && row(&before[index]) != row(&after[index])
                {
                    wrong.push(format!(
                        "{}, {name}: its screen changed from {:?} to {:?}",
                        seat.prompt,
                        row(&before[index]),
                        row(&after[index])
                    ));
                }
            }
            let _ = writeln!(
                table,
                "{name:>38}  {:>3} asked  {taken:>3} taken",
                asked.len()
            );
        }
        hall.clear();
        hall.settles();
    }
    println!(
        "{} {mode:?}, {} prompts\n{table}",
        shell.program(),
        hall.seats.len()
    );
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n"));
}

/// Types a line everywhere, in insert mode if the editor has one.
fn enter(hall: &Hall<'_>, mode: Mode, line: &Line) {
    if mode == Mode::Vi {
        // Whatever mode the last line left it in.
        hall.press("Escape");
        hall.press("i");
    }
    hall.type_keys(line);
    match line.name {
        "picker" => hall.picks(),
        "question" => hall.questions(),
        _ => {}
    }
}

/// Shells that were never asked: none is idle with anything in its line.
fn no_line_is_idle_unasked(shell: Shell) {
    if !shell.is_installed() {
        return;
    }
    let world = World::new();
    let mode = Mode::Emacs;
    let hall = Hall::open(&world, shell, mode, false);
    hall.settles();
    let mut wrong = Vec::new();
    for line in lines(shell, mode) {
        enter(&hall, mode, &line);
        hall.settles();
        let verdicts = hall.verdicts();
        let idle: Vec<&str> = hall
            .seats
            .iter()
            .map(|seat| seat.prompt.as_str())
            .filter(|prompt| verdicts.get(*prompt).is_some_and(|status| status == "idle"))
            .collect();
        println!(
            "{} {:>22}  {:>3} idle of {}",
            shell.program(),
            line.name,
            idle.len(),
            hall.seats.len()
        );
        if line.kind != Kind::Empty {
            wrong.extend(idle.iter().map(|prompt| format!("{prompt}, {}", line.name)));
        }
        hall.clear();
        hall.settles();
    }
    assert!(wrong.is_empty(), "{}: {}", wrong.len(), wrong.join("\n"));
}

macro_rules! matrix {
    ($($name:ident: $shell:ident $mode:ident;)*) => {
        $(#[test] fn $name() { every_line(Shell::$shell, Mode::$mode); })*
    };
}

matrix! {
    bash_in_emacs_mode: Bash Emacs;
    bash_in_both_modes_of_vi: Bash Vi;
    zsh_in_emacs_mode: Zsh Emacs;
    zsh_in_both_modes_of_vi: Zsh Vi;
    fish_in_emacs_mode: Fish Emacs;
    fish_in_both_modes_of_vi: Fish Vi;
}

#[test]
fn bash_that_was_never_asked() {
    no_line_is_idle_unasked(Shell::Bash);
}

#[test]
fn zsh_that_was_never_asked() {
    no_line_is_idle_unasked(Shell::Zsh);
}

#[test]
fn fish_that_was_never_asked() {
    no_line_is_idle_unasked(Shell::Fish);
}
