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
mod composer;
mod draw;
mod headless;
pub mod input;
pub mod options;
mod person;
mod screen;
mod transcript;
mod turns;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::journal::{Event, Journal, What, digest};
use input::{Input, Parser};
use options::{Moment, Options};
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
