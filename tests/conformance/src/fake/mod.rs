//! The agent: a simple but honest model of real ones.
//!
//! ```text
//! terminal -> input (keys, pastes) -> Agent (composer, turn, dialog, person) -> screen, title
//!                                       |-> journal: what really happened
//!                                       '-> transcript: what an agent would say happened
//! ```
//!
//! Events that neither a person nor a program could have seen in time are not modelled: a dialog or
//! a person's letter that belongs to a paste is drawn together with it, not between the last look
//! at the screen and the key that follows.

mod canonical;
mod headless;
pub mod input;
pub mod options;
mod screen;
mod transcript;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::journal::{Event, Journal, What, digest};
use input::{Input, Parser};
use options::{Moment, Options};
use screen::{Below, View};
use transcript::Transcript;

/// How many lines of the transcript are kept: more than a screen has.
const LINES: usize = 300;

/// The longest draft that is kept.
const LONGEST_DRAFT: usize = 16 << 20;

/// Pastes with more lines are shown by their size, if pastes are.
const SHOWN_LINES: usize = 5;

/// How long an ESC waits for the rest of a sequence.
const ESCAPE_WAIT: Duration = Duration::from_millis(50);

/// The shortest time between two drawings of the screen while input continues.
const FRAME: Duration = Duration::from_millis(40);

/// How often a busy line moves.
const TICK: Duration = Duration::from_millis(80);

/// How long the first Ctrl-C is remembered.
const QUIT_WITHIN: Duration = Duration::from_secs(2);

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Runs the agent until its terminal is gone, it is asked to end, or it is time for it to die.
///
/// # Errors
///
/// The terminal or a file cannot be used.
pub fn run(options: Options) -> io::Result<()> {
    let mut journal = Journal::open(options.log.as_deref())?;
    if options.canonical {
        return canonical::run(&options, &mut journal);
    }
    if options.headless {
        return headless::run(&options, &mut journal);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(io::Error::other("it runs in a terminal alone"));
    }
    let terminal = Terminal::raw()?;
    let end = Agent::new(options, journal)?.live()?;
    drop(terminal);
    match end {
        Ended::Gone => Ok(()),
        Ended::Restart => {
            let mut args = std::env::args_os();
            let name = args.next().unwrap_or_default();
            let program = std::env::current_exe()?;
            Err(Command::new(program).arg0(name).args(args).exec())
        }
    }
}

/// Returns the answer to a prompt, or the line of its failure and whether that is a rate limit.
fn answer(options: &Options, prompt: &[u8]) -> Result<String, (String, bool)> {
    if options.limit {
        let line = "You've hit your usage limit. Try again in 20s.";
        return Err((line.to_owned(), true));
    }
    if options.error {
        let line = "stream error: the model said nothing";
        return Err((line.to_owned(), false));
    }
    let question = if options.ask {
        "\n\nShall I go on?"
    } else {
        ""
    };
    Ok(format!(
        "answer: {} {}{question}",
        digest(prompt),
        prompt.len()
    ))
}

/// Returns a prompt without the sign that may stand at its end.
fn unsigned(given: &[u8]) -> &[u8] {
    let sign = given.windows(6).rposition(|part| part == b"(task ");
    match sign {
        // It is in a line of its own.
        Some(at) if at > 0 && given.ends_with(b")") => &given[..at - 1],
        _ => given,
    }
}

/// Returns what an agent makes of a prompt that keeps nothing but its words with digits.
fn rewritten(prompt: &str) -> String {
    let has_digit = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = prompt.split_whitespace().filter(has_digit).collect();
    format!("The user asks something about {}", words.join(", "))
}

/// Returns the prompt, or by chance the prompt without one of its bytes.
fn garbled(mut prompt: Vec<u8>, chance: f64) -> Vec<u8> {
    if !prompt.is_empty() && fastrand::f64() < chance {
        prompt.remove(fastrand::usize(..prompt.len()));
    }
    prompt
}

/// The terminal in raw mode, which is restored when this is dropped.
struct Terminal {
    before: Termios,
}

impl Terminal {
    fn raw() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut stdout = io::stdout();
        // Nothing can be done if the terminal is gone.
        let _ = stdout.write_all(b"\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[?1049l\r\n");
        let _ = stdout.flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Why the agent's life is over.
enum Ended {
    /// It quit, it died, or its terminal did.
    Gone,
    /// It starts again.
    Restart,
}

/// A part of a draft.
enum Piece {
    Typed(Vec<u8>),
    Pasted { text: Vec<u8>, number: usize },
}

/// Where the rest of an unfinished paste goes.
enum Paste {
    None,
    Composer(Vec<u8>),
    Dialog,
}

/// An open dialog.
struct Dialog {
    serial: u64,
    until: Option<Instant>,
}

/// A turn in progress.
struct Turn {
    prompt: Vec<u8>,
    /// What the agent has made of it, if it rewrites prompts.
    about: Option<String>,
    began: Instant,
    /// How much of it remains, and since when that counts; it does not run while a dialog is open.
    left: Duration,
    since: Instant,
    is_half_over: bool,
}

/// What the person at the keyboard does next with the draft.
enum Person {
    Types(Instant),
    Clears(Instant),
    Rests,
}

struct Agent {
    options: Options,
    journal: Journal,
    transcript: Transcript,
    parser: Parser,
    lines: VecDeque<String>,
    draft: Vec<Piece>,
    pastes: usize,
    paste: Paste,
    /// When characters or a paste last arrived.
    typed: Option<Instant>,
    /// A list that the typed text has opened; the next Enter chooses from it.
    is_choosing: bool,
    swallow: u32,
    turn: Option<Turn>,
    /// Prompts as they are journaled, and as they were given.
    queue: VecDeque<(Vec<u8>, Vec<u8>)>,
    turns: u64,
    dialog: Option<Dialog>,
    dialogs: u64,
    person: Person,
    interrupted: Option<Instant>,
    /// When bracketed paste is enabled.
    brackets: Option<Instant>,
    redraw: Option<Instant>,
    noise: Option<Instant>,
    tick: Option<Instant>,
    frames: u64,
    title: String,
    ended: Option<Ended>,
    needs_drawing: bool,
    is_fresh: bool,
}

impl Agent {
    fn new(options: Options, journal: Journal) -> io::Result<Self> {
        let transcript = Transcript::open(options.transcript.as_deref())?;
        let now = Instant::now();
        let person = match &options.draft {
            Some(_) if options.draft_on_paste.is_none() => {
                Person::Types(now + ms(options.start_delay + options.draft_after))
            }
            _ => Person::Rests,
        };
        let lines = ["fake-agent: each prompt is answered by its digest", ""];
        Ok(Self {
            swallow: options.swallow_enter,
            redraw: (options.redraw > 0).then(|| now + ms(options.redraw)),
            noise: (options.title_noise > 0).then_some(now),
            options,
            journal,
            transcript,
            parser: Parser::default(),
            lines: lines.map(str::to_owned).into(),
            draft: Vec::new(),
            pastes: 0,
            paste: Paste::None,
            typed: None,
            is_choosing: false,
            turn: None,
            queue: VecDeque::new(),
            turns: 0,
            dialog: None,
            dialogs: 0,
            person,
            interrupted: None,
            brackets: None,
            tick: None,
            frames: 0,
            title: String::new(),
            ended: None,
            needs_drawing: true,
            is_fresh: true,
        })
    }

    /// Starts, and lives until something ends it.
    fn live(mut self) -> io::Result<Ended> {
        self.journal.write(&Event::now(What::Start))?;
        self.start()?;
        let mut buffer = vec![0; 64 * 1024];
        let mut inputs = Vec::new();
        let mut drawn = Instant::now();
        let mut heard = Instant::now();
        loop {
            let wait = if self.needs_drawing {
                // Only as long as input keeps coming.
                Duration::ZERO
            } else {
                self.until_next(Instant::now())
            };
            let is_ready = wait_for_input(wait)?;
            if is_ready {
                let count = match rustix::io::read(io::stdin(), &mut buffer) {
                    Ok(0) | Err(rustix::io::Errno::IO) => return Ok(Ended::Gone),
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => 0,
                    other => other?,
                };
                self.parser.feed(&buffer[..count], &mut inputs);
                heard = Instant::now();
            } else if heard.elapsed() >= ESCAPE_WAIT {
                self.parser.silence(&mut inputs);
            }
            for input in inputs.drain(..) {
                if self.ended.is_none() {
                    self.take(input)?;
                }
            }
            self.pass(Instant::now())?;
            if let Some(end) = self.ended.take() {
                return Ok(end);
            }
            if self.needs_drawing && (!is_ready || drawn.elapsed() >= FRAME) {
                self.draw()?;
                drawn = Instant::now();
            }
        }
    }

    /// Starts, up to the first drawing.
    fn start(&mut self) -> io::Result<()> {
        if self.options.start_delay > 0 {
            let until = Instant::now() + ms(self.options.start_delay);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                if wait_for_input(left)? {
                    // Whatever the input is: nobody listens yet.
                    if rustix::io::read(io::stdin(), &mut buffer)? == 0 {
                        self.ended = Some(Ended::Gone);
                        break;
                    }
                }
            }
        }
        if self.options.alternate {
            write(b"\x1b[?1049h")?;
        }
        if !self.options.no_bracketed && !self.options.onboarding {
            if self.options.late_bracketed > 0 {
                self.brackets = Some(Instant::now() + ms(self.options.late_bracketed));
            } else {
                write(b"\x1b[?2004h")?;
            }
        }
        self.dialog_at(Moment::OnStart)?;
        self.draw()
    }

    /// Takes one piece of input.
    fn take(&mut self, input: Input) -> io::Result<()> {
        if !matches!(input, Input::Interrupt) {
            self.interrupted = None;
        }
        if self.dialog.is_some() || self.options.onboarding {
            return self.take_in_dialog(&input);
        }
        match input {
            Input::PasteBegin => {
                self.paste = Paste::Composer(Vec::new());
                if self.dies(Moment::OnPaste)? {
                    return Ok(());
                }
                self.dialog_at(Moment::OnPaste)?;
            }
            Input::Pasted(bytes) => self.pasted(&bytes),
            Input::PasteEnd => self.paste_end()?,
            Input::Text(bytes) => {
                // If typed, not pasted, these open a list of files or commands.
                if bytes.contains(&b'@') || (self.draft.is_empty() && bytes[0] == b'/') {
                    self.is_choosing = true;
                }
                self.typed = Some(Instant::now());
                self.add(&bytes);
            }
            Input::Newline => self.add(b"\n"),
            Input::Backspace => self.backspace(),
            Input::Enter => {
                thread::sleep(ms(self.options.slow_enter));
                self.enter()?;
            }
            Input::Escape => self.escape()?,
            Input::Interrupt => self.interrupt()?,
            Input::Other => {}
        }
        self.needs_drawing = true;
        Ok(())
    }

    /// A dialog takes everything that is typed, but a paste that began before the dialog still goes
    /// where it was going.
    fn take_in_dialog(&mut self, input: &Input) -> io::Result<()> {
        let (bytes, note): (&[u8], &str) = match input {
            Input::Pasted(bytes) => match self.paste {
                Paste::Composer(_) => {
                    self.pasted(bytes);
                    return Ok(());
                }
                _ => (bytes, "pasted"),
            },
            Input::PasteEnd => {
                if matches!(self.paste, Paste::Composer(_)) {
                    return self.paste_end();
                }
                self.paste = Paste::None;
                return Ok(());
            }
            Input::PasteBegin => {
                self.paste = Paste::Dialog;
                (b"", "paste")
            }
            Input::Text(bytes) => (bytes, "text"),
            Input::Enter => (b"\r", "enter"),
            Input::Newline => (b"\n", "newline"),
            Input::Backspace => (b"", "backspace"),
            Input::Escape => (b"\x1b", "escape"),
            Input::Interrupt => (b"\x03", "interrupt"),
            Input::Other => (b"", "key"),
        };
        let serial = self.dialog.as_ref().map_or(0, |dialog| dialog.serial);
        let event = Event::now(What::DialogKey)
            .with_text(bytes)
            .with_serial(serial)
            .with_note(note);
        self.journal.write(&event)
    }

    fn pasted(&mut self, bytes: &[u8]) {
        if let Paste::Composer(text) = &mut self.paste
            && text.len() + bytes.len() <= LONGEST_DRAFT
        {
            text.extend_from_slice(bytes);
        }
    }

    fn paste_end(&mut self) -> io::Result<()> {
        let Paste::Composer(text) = std::mem::replace(&mut self.paste, Paste::None) else {
            return Ok(());
        };
        let text = input::newlines(&text);
        self.journal
            .write(&Event::now(What::Paste).with_text(&text))?;
        self.pastes += 1;
        let piece = Piece::Pasted {
            text,
            number: self.pastes,
        };
        self.draft.push(piece);
        self.typed = Some(Instant::now());
        self.needs_drawing = true;
        let chance = self.options.draft_on_paste.unwrap_or(0.0);
        if fastrand::f64() < chance {
            self.person_types(fastrand::bool())?;
        }
        self.dialog_at(Moment::AfterPaste)
    }

    /// Adds typed characters to the draft.
    fn add(&mut self, bytes: &[u8]) {
        if self.draft_len() + bytes.len() > LONGEST_DRAFT {
            return;
        }
        if let Some(Piece::Typed(text)) = self.draft.last_mut() {
            text.extend_from_slice(bytes);
        } else {
            self.draft.push(Piece::Typed(bytes.to_vec()));
        }
    }

    fn backspace(&mut self) {
        self.is_choosing = false;
        match self.draft.last_mut() {
            Some(Piece::Typed(text)) => {
                // The rest of a character is removed with its first byte.
                while let Some(byte) = text.pop() {
                    if byte & 0xc0 != 0x80 {
                        break;
                    }
                }
                if text.is_empty() {
                    self.draft.pop();
                }
            }
            Some(Piece::Pasted { .. }) => {
                self.draft.pop();
            }
            None => {}
        }
    }

    fn enter(&mut self) -> io::Result<()> {
        let burst = ms(self.options.burst);
        let note = if self.is_choosing {
            self.is_choosing = false;
            "chosen"
        } else if self.typed.is_some_and(|typed| typed.elapsed() < burst) {
            self.add(b"\n");
            "newline"
        } else if self.swallow > 0 {
            self.swallow -= 1;
            "swallowed"
        } else if self.draft_text().iter().all(u8::is_ascii_whitespace) {
            "empty"
        } else {
            return self.submit();
        };
        self.journal.write(&Event::now(What::Enter).with_note(note))
    }

    fn submit(&mut self) -> io::Result<()> {
        let given = garbled(self.draft_text(), self.options.garble);
        let text = match self.options.rewrite {
            true => unsigned(&given).to_vec(),
            false => given.clone(),
        };
        self.draft.clear();
        self.pastes = 0;
        if matches!(self.person, Person::Clears(_)) {
            // The draft that was to be removed has gone with it.
            self.person = self.person_rests(Instant::now());
        }
        let event = Event::now(What::Submit).with_text(&text);
        self.journal.write(&event)?;
        if fastrand::f64() < self.options.twice {
            self.journal.write(&event)?;
        }
        if self.dies(Moment::OnSubmit)? {
            return Ok(());
        }
        if self.turn.is_some() {
            self.queue.push_back((text, given));
            return Ok(());
        }
        self.begin(text, &given)?;
        self.dialog_at(Moment::OnSubmit)
    }

    /// Begins a turn with a prompt, which was `given` with its sign.
    fn begin(&mut self, prompt: Vec<u8>, given: &[u8]) -> io::Result<()> {
        let given = String::from_utf8_lossy(given);
        let text = match self.options.rewrite {
            true => rewritten(&given),
            false => given.into_owned(),
        };
        let head: String = text.chars().take(300).collect();
        for (at, line) in screen::wrap(&head, 90).iter().take(4).enumerate() {
            let mark = if at == 0 { "❯" } else { " " };
            self.say(format!("{mark} {line}"));
        }
        self.say(String::new());
        self.transcript.began(&text)?;
        let now = Instant::now();
        self.turn = Some(Turn {
            prompt,
            about: self.options.rewrite.then_some(text),
            began: now,
            left: ms(self.options.turn),
            since: now,
            is_half_over: false,
        });
        self.tick = Some(now);
        self.needs_drawing = true;
        Ok(())
    }

    fn end_turn(&mut self, turn: &Turn) -> io::Result<()> {
        match answer(&self.options, &turn.prompt) {
            Ok(mut answer) => {
                if let Some(about) = &turn.about {
                    answer = format!("{answer}\n\nThat was about: {about}");
                }
                self.transcript.done(&answer)?;
                for (at, line) in answer.lines().enumerate() {
                    let mark = if at == 0 { "●" } else { " " };
                    self.say(format!("{mark} {line}"));
                }
                self.say(String::new());
                let seconds = turn.began.elapsed().as_secs();
                self.say(format!("✔ Worked for {seconds}s"));
            }
            Err((line, is_limit)) => {
                self.transcript.failed(&line, is_limit)?;
                self.say(format!("■ {line}"));
            }
        }
        self.say(String::new());
        self.journal
            .write(&Event::now(What::End).with_text(&turn.prompt))?;
        self.turn_is_over()
    }

    fn turn_is_over(&mut self) -> io::Result<()> {
        self.swallow = self.options.swallow_enter;
        self.turns += 1;
        self.tick = None;
        self.needs_drawing = true;
        if let Some(prompt) = self.queue.pop_front() {
            let (prompt, given) = prompt;
            return self.begin(prompt, &given);
        }
        if self.options.restart_after > 0 && self.turns >= self.options.restart_after {
            self.ended = Some(Ended::Restart);
            return Ok(());
        }
        self.dialog_at(Moment::AfterTurn)
    }

    fn escape(&mut self) -> io::Result<()> {
        let is_working = self.turn.take().is_some();
        let note = if is_working { "turn" } else { "idle" };
        self.journal
            .write(&Event::now(What::Escape).with_note(note))?;
        if is_working {
            self.transcript.aborted()?;
            self.say("■ Interrupted by the user".to_owned());
            self.say(String::new());
            self.turn_is_over()?;
        }
        Ok(())
    }

    fn interrupt(&mut self) -> io::Result<()> {
        if self
            .interrupted
            .is_some_and(|before| before.elapsed() < QUIT_WITHIN)
        {
            self.journal.write(&Event::now(What::Quit))?;
            self.ended = Some(Ended::Gone);
        } else {
            self.interrupted = Some(Instant::now());
            self.draft.clear();
        }
        Ok(())
    }

    /// Returns whether the process dies at this moment.
    fn dies(&mut self, moment: Moment) -> io::Result<bool> {
        if self.options.die != Some(moment) || fastrand::f64() >= self.options.die_chance {
            return Ok(false);
        }
        let note = match moment {
            Moment::OnPaste => "on-paste",
            Moment::OnSubmit => "on-submit",
            _ => "mid-turn",
        };
        self.journal
            .write(&Event::now(What::Died).with_note(note))?;
        self.ended = Some(Ended::Gone);
        Ok(true)
    }

    /// Opens a dialog if this is its moment.
    fn dialog_at(&mut self, moment: Moment) -> io::Result<()> {
        if self.dialog.is_some() || self.ended.is_some() || !self.options.dialog.comes(moment) {
            return Ok(());
        }
        self.dialogs += 1;
        let now = Instant::now();
        self.dialog = Some(Dialog {
            serial: self.dialogs,
            until: (self.options.dialog_for > 0).then(|| now + ms(self.options.dialog_for)),
        });
        if let Some(turn) = &mut self.turn {
            turn.left = turn.left.saturating_sub(now - turn.since);
        }
        self.needs_drawing = true;
        let event = Event::now(What::Dialog).with_serial(self.dialogs);
        self.journal.write(&event)
    }

    /// Does what is due by now.
    fn pass(&mut self, now: Instant) -> io::Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        if let Some(dialog) = &self.dialog
            && dialog.until.is_some_and(|until| until <= now)
        {
            self.dialog = None;
            if let Some(turn) = &mut self.turn {
                turn.since = now;
            }
            self.needs_drawing = true;
        }
        if self.dialog.is_none() {
            self.pass_turn(now)?;
        }
        self.pass_person(now)?;
        if self.brackets.is_some_and(|at| at <= now) {
            self.brackets = None;
            write(b"\x1b[?2004h")?;
        }
        if self.redraw.is_some_and(|at| at <= now) {
            self.redraw = Some(now + ms(self.options.redraw));
            self.is_fresh = true;
            self.needs_drawing = true;
        }
        if self.noise.is_some_and(|at| at <= now) {
            self.noise = Some(now + ms(self.options.title_noise));
            self.set_title(format!("job {} · {}", self.frames, crate::journal::now()))?;
            self.frames += 1;
        }
        if self.tick.is_some_and(|at| at <= now) {
            self.tick = Some(now + TICK);
            self.frames += 1;
            self.needs_drawing = true;
        }
        Ok(())
    }

    fn pass_turn(&mut self, now: Instant) -> io::Result<()> {
        let Some(turn) = &mut self.turn else {
            return Ok(());
        };
        let left = turn.left.saturating_sub(now - turn.since);
        if !turn.is_half_over && left <= ms(self.options.turn / 2) {
            turn.is_half_over = true;
            if self.dies(Moment::MidTurn)? {
                return Ok(());
            }
            self.dialog_at(Moment::MidTurn)?;
            if self.dialog.is_some() {
                return Ok(());
            }
        }
        if left.is_zero()
            && let Some(turn) = self.turn.take()
        {
            self.end_turn(&turn)?;
        }
        Ok(())
    }

    fn pass_person(&mut self, now: Instant) -> io::Result<()> {
        match self.person {
            Person::Types(at) if at <= now => {
                // The person begins in an empty composer, and reads what the agent says first.
                let is_quiet = self.draft.is_empty()
                    && self.turn.is_none()
                    && self.dialog.is_none()
                    && matches!(self.paste, Paste::None);
                if is_quiet {
                    self.person_types(false)?;
                } else {
                    self.person = Person::Types(now + ms(20));
                }
            }
            Person::Clears(at) if at <= now => {
                self.draft.clear();
                self.pastes = 0;
                self.journal
                    .write(&Event::now(What::Draft).with_note("cleared"))?;
                self.needs_drawing = true;
                self.person = self.person_rests(now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns what the person does once the draft is gone.
    fn person_rests(&self, now: Instant) -> Person {
        if self.options.draft_every > 0 && self.options.draft_on_paste.is_none() {
            Person::Types(now + ms(self.options.draft_every))
        } else {
            Person::Rests
        }
    }

    /// Puts the person's draft into the composer.
    fn person_types(&mut self, at_front: bool) -> io::Result<()> {
        let text = self.options.draft.clone().unwrap_or_default();
        let event = Event::now(What::Draft)
            .with_text(text.as_bytes())
            .with_note("typed");
        self.journal.write(&event)?;
        if at_front {
            self.draft.insert(0, Piece::Typed(text.into_bytes()));
        } else {
            self.add(text.as_bytes());
        }
        self.person = if self.options.draft_for > 0 {
            Person::Clears(Instant::now() + ms(self.options.draft_for))
        } else {
            Person::Rests
        };
        self.needs_drawing = true;
        Ok(())
    }

    /// Returns how long nothing will happen by itself.
    fn until_next(&self, now: Instant) -> Duration {
        let mut next = now + Duration::from_secs(60);
        let mut consider = |at: Option<Instant>| {
            if let Some(at) = at {
                next = next.min(at);
            }
        };
        consider(self.dialog.as_ref().and_then(|dialog| dialog.until));
        if self.dialog.is_none()
            && let Some(turn) = &self.turn
        {
            let end = turn.since + turn.left;
            consider(Some(end));
            if !turn.is_half_over {
                consider(end.checked_sub(ms(self.options.turn / 2)));
            }
        }
        match self.person {
            Person::Types(at) | Person::Clears(at) => consider(Some(at)),
            Person::Rests => {}
        }
        for at in [self.brackets, self.redraw, self.noise, self.tick] {
            consider(at);
        }
        let wait = next.saturating_duration_since(now);
        if self.parser.is_waiting() {
            wait.min(ESCAPE_WAIT)
        } else {
            wait
        }
    }

    fn draft_len(&self) -> usize {
        let len = |piece: &Piece| match piece {
            Piece::Typed(text) | Piece::Pasted { text, .. } => text.len(),
        };
        self.draft.iter().map(len).sum()
    }

    fn draft_text(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.draft_len());
        for piece in &self.draft {
            match piece {
                Piece::Typed(text) | Piece::Pasted { text, .. } => all.extend_from_slice(text),
            }
        }
        all
    }

    /// Returns the draft as shown.
    fn draft_shown(&self) -> String {
        let mut shown = String::new();
        for piece in &self.draft {
            match piece {
                Piece::Pasted { text, number } if self.is_summed_up(text) => {
                    let lines = line_count(text);
                    shown.push_str(&format!("[Pasted text #{number} +{lines} lines]"));
                }
                Piece::Typed(text) | Piece::Pasted { text, .. } => {
                    shown.push_str(&String::from_utf8_lossy(text));
                }
            }
        }
        shown
    }

    /// Returns whether a paste is shown by its size alone; other text beside it is still shown.
    fn is_summed_up(&self, text: &[u8]) -> bool {
        let longest = self.options.collapse;
        longest > 0 && (text.len() > longest || line_count(text) > SHOWN_LINES)
    }

    fn say(&mut self, line: String) {
        self.lines.push_back(line);
        while self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout())?;
        let status = match (&self.turn, &self.dialog) {
            (Some(turn), None) => {
                let mark = ['✻', '✽', '✶', '✢'][(self.frames % 4) as usize];
                let seconds = turn.began.elapsed().as_secs();
                Some(format!("{mark} Working… ({seconds}s · esc to interrupt)"))
            }
            _ => None,
        };
        let draft = self.draft_shown();
        let below = if self.options.onboarding {
            Below::Welcome
        } else if self.dialog.is_some() {
            Below::Dialog
        } else {
            Below::Composer {
                draft: &draft,
                no_break: self.options.no_break,
            }
        };
        let left = 100 - (self.turns + self.frames / 8) % 100;
        let footer = if self.interrupted.is_some() {
            "Press Ctrl-C again to exit".to_owned()
        } else {
            format!("? for shortcuts · {left}% context left")
        };
        let view = View {
            lines: &self.lines,
            status: status.as_deref(),
            below,
            footer: &footer,
            is_fresh: self.is_fresh,
        };
        let drawn = screen::draw(&view, size.ws_col.into(), size.ws_row.into());
        self.needs_drawing = false;
        self.is_fresh = false;
        write(&drawn)?;
        if self.options.title {
            let title = if self.dialog.is_some() {
                "Action Required · fake".to_owned()
            } else if self.turn.is_some() {
                let frame = (self.frames % SPINNER.len() as u64) as usize;
                format!("{} fake", SPINNER[frame])
            } else {
                "fake".to_owned()
            };
            self.set_title(title)?;
        }
        Ok(())
    }

    fn set_title(&mut self, title: String) -> io::Result<()> {
        if title != self.title {
            write(format!("\x1b]2;{title}\x07").as_bytes())?;
            self.title = title;
        }
        Ok(())
    }
}

/// Waits until there is something to read, at most this long.
fn wait_for_input(wait: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes everything to the terminal at once.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut rest = bytes;
    while !rest.is_empty() {
        match stdout.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    stdout.flush()
}

fn line_count(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count() + 1
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
