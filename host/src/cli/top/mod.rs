//! `assigner top`: the whole fleet on one screen, and everything that can be done from there.
//!
//! What is on the screen is read from the queue ([`fleet`]), what a key means is decided by a state that
//! knows no terminal ([`state`]), and what it does is one of our own commands: here they are run.

mod acts;
mod draw;
mod fields;
mod fleet;
mod page;
mod plain;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
    Event, KeyEventKind, MouseButton, MouseEventKind,
};
use ratatui::crossterm::execute;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use tokio::signal::unix::SignalKind;

use super::exit::{CommandFailure, Exit};
use super::{Context, Global, output, signals};
use crate::store::Store;
use acts::{Choice, OwnCommand, TopAct};
use draw::TopLook;
use fleet::{Fleet, TaskFacts};
use state::{Mode, TopState};

/// How long nothing is done if no key is pressed. Whether anything has changed costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often ages are drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// A queue that changes all the time is read no more often.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How long its own end may take once it was told to end.
const LONGEST_END: Duration = Duration::from_secs(3);

/// The most of what a command prints that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// How long a command may take that has no screen of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows sessions and queue, live: what waits for you, what runs where, what waits and why. `?` lists
/// the keys by which you reply, cancel, retry, give away, pause, label and queue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Prints what changes as plain lines instead, for screen readers and pipes
    #[arg(long)]
    plain: bool,
}

pub(super) fn run(context: &Context, args: &Args, global: &Global) -> Result<Exit, CommandFailure> {
    if context.ui.json {
        return Err(CommandFailure::usage(
            "top is for people: `assigner status --json` and `assigner sessions --json` are for scripts",
        ));
    }
    if args.plain {
        return tell(context);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CommandFailure::usage(
            "top needs a terminal: `assigner top --plain` prints lines, `assigner status` prints once",
        ));
    }
    let mut store = context.store()?;
    let fleet = Fleet::read(context, &mut store, &Fleet::default())?;
    let over = ended();
    let mut screen = OwnScreen::open()?;
    let result = watch(context, global, &mut store, fleet, &mut screen, &over);
    screen.close();
    result
}

/// Prints what changes, until the reader goes away.
fn tell(context: &Context) -> Result<Exit, CommandFailure> {
    let mut store = context.store()?;
    let mut seen = store.data_version()?;
    let mut fleet = Fleet::read(context, &mut store, &Fleet::default())?;
    let print = |lines: Vec<String>| -> io::Result<()> {
        for line in lines {
            context.ui.line(&line)?;
        }
        io::stdout().flush()
    };
    print(plain::beginning(&fleet))?;
    // A signal ends it as it ends any other program.
    loop {
        thread::sleep(LOOK_EVERY);
        let version = store.data_version()?;
        // Nothing in the queue tells that its daemon has ended.
        let daemon = crate::daemon::Lock::holder(&context.config.data_dir).is_some();
        if version != seen || daemon != fleet.daemon.is_some() {
            seen = version;
            let now = Fleet::read(context, &mut store, &fleet)?;
            print(plain::changes(&fleet, &now))?;
            fleet = now;
        }
    }
}

/// Shows everything, and does what keys say, until one says that it is over.
fn watch(
    context: &Context,
    global: &Global,
    store: &mut Store,
    mut fleet: Fleet,
    screen: &mut OwnScreen,
    over: &AtomicBool,
) -> Result<Exit, CommandFailure> {
    let look = TopLook {
        colors: has_colors(),
        home: std::env::home_dir().and_then(|home| home.into_os_string().into_string().ok()),
    };
    let mut state = TopState::new(&fleet);
    let mut seen = store.data_version()?;
    let (mut read, mut drawn) = (Instant::now(), None::<Instant>);
    while !over.load(Ordering::Relaxed) {
        if drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
            let now = Timestamp::now();
            let draw = |frame: &mut ratatui::Frame<'_>| {
                draw::draw(frame, &mut state, &fleet, now, &look);
            };
            screen.terminal.draw(draw)?;
            drawn = Some(Instant::now());
        }
        if listen(LOOK_EVERY)? == TerminalSays::Gone {
            break;
        }
        // One at a time: what a key does may take the keys after it.
        while listen(Duration::ZERO)? != TerminalSays::Gone && event::poll(Duration::ZERO)? {
            let act = happened(event::read()?, &mut state, &fleet);
            drawn = None;
            match act {
                Some(TopAct::Quit) => return Ok(Exit::Done),
                Some(act) => {
                    // What could not be done is said; only a terminal that has gone ends this.
                    if let Err(failure) = does(act, context, global, store, screen, &mut state) {
                        state.has_run(false, failure.message);
                    }
                    read = Instant::now()
                        .checked_sub(READ_EVERY)
                        .unwrap_or_else(Instant::now);
                }
                None => {}
            }
        }
        if read.elapsed() < READ_EVERY {
            continue;
        }
        match fresh(context, store, &mut seen, &fleet, &mut state) {
            Ok(None) => {}
            Ok(Some(now)) => {
                fleet = now;
                read = Instant::now();
                drawn = None;
            }
            Err(failure) => {
                read = Instant::now();
                state.message = failure.message;
            }
        }
    }
    Ok(Exit::Done)
}

/// What is to be heard from a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TerminalSays {
    Nothing,
    Something,
    /// It is no longer there: whoever reads from it now reads for ever.
    Gone,
}

/// Waits until something can be read from the terminal.
fn listen(wait: Duration) -> io::Result<TerminalSays> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let most = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let found = watched[0].revents();
    if found.contains(PollFlags::NVAL) {
        // Some systems cannot wait for a terminal.
        thread::sleep(wait);
        return Ok(TerminalSays::Nothing);
    }
    Ok(if found.intersects(PollFlags::HUP | PollFlags::ERR) {
        TerminalSays::Gone
    } else if found.contains(PollFlags::IN) {
        TerminalSays::Something
    } else {
        TerminalSays::Nothing
    })
}

/// Reads everything anew if anything has changed, or if what is shown grows.
fn fresh(
    context: &Context,
    store: &mut Store,
    seen: &mut i64,
    fleet: &Fleet,
    state: &mut TopState,
) -> Result<Option<Fleet>, CommandFailure> {
    let version = store.data_version()?;
    // Nothing in the queue tells that its daemon has ended.
    let runs = crate::daemon::Lock::holder(&context.config.data_dir).is_some();
    let changed = version != *seen || runs != fleet.daemon.is_some();
    let grows = matches!(&state.mode, Mode::Task(facts, _) if !facts.task.status.is_settled());
    if !changed && !grows {
        return Ok(None);
    }
    let now = Fleet::read(context, store, fleet)?;
    if let Mode::Task(facts, _) = &mut state.mode {
        // What was cleared meanwhile stays as it was last seen.
        if let Ok(fresh) = TaskFacts::read(context, store, facts.task.id) {
            **facts = fresh;
        }
    }
    *seen = version;
    Ok(Some(now))
}

/// Tells the state of a key, a click or a paste.
fn happened(event: Event, state: &mut TopState, fleet: &Fleet) -> Option<TopAct> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => state.key(key, fleet),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => state.click(mouse.column, mouse.row, fleet),
            MouseEventKind::ScrollDown => state.key(event::KeyCode::Down.into(), fleet),
            MouseEventKind::ScrollUp => state.key(event::KeyCode::Up.into(), fleet),
            _ => None,
        },
        Event::Paste(text) => {
            state.paste(&text);
            None
        }
        _ => None,
    }
}

/// Does what is to happen, and shows what came of it.
fn does(
    act: TopAct,
    context: &Context,
    global: &Global,
    store: &mut Store,
    screen: &mut OwnScreen,
    state: &mut TopState,
) -> Result<(), CommandFailure> {
    match act {
        TopAct::Quit => {}
        TopAct::Run(command) => {
            let (is_well, said) = quietly(global, &command)?;
            state.has_run(is_well, last_line(&said));
        }
        TopAct::Read(title, command) => {
            let (_, said) = quietly(global, &command)?;
            let lines = output::harmless(&said).lines().map(str::to_owned).collect();
            state.mode = Mode::Text(title, lines, 0);
        }
        TopAct::Leave(command) => {
            screen.close();
            let status = own(global, &command).status();
            screen.reopen()?;
            state.message = match status {
                Ok(status) if status.success() => String::new(),
                Ok(_) => last_line(&quietly(global, &with_print(&command))?.1),
                Err(error) => error.to_string(),
            };
        }
        TopAct::Open(id) => {
            let facts = TaskFacts::read(context, store, id)?;
            state.mode = Mode::Task(Box::new(facts), 0);
        }
        TopAct::Choose(id) => {
            let words = ["--json".to_owned(), "explain".to_owned(), id.to_string()];
            let command = OwnCommand {
                words: words.to_vec(),
                input: String::new(),
            };
            let (_, said) = quietly(global, &command)?;
            state.offers(id, choices(&said));
        }
    }
    Ok(())
}

/// Returns the same command, which then only says what it would do.
fn with_print(command: &OwnCommand) -> OwnCommand {
    let mut command = command.clone();
    command.words.push("--print".to_owned());
    command
}

/// Returns the last line that says something.
fn last_line(said: &[u8]) -> String {
    let said = output::harmless(said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or_default().to_owned()
}

/// Returns the sessions that `explain --json` lists, whatever it warns of.
fn choices(said: &[u8]) -> Vec<Choice> {
    let mut lines = said.split(|&byte| byte == b'\n');
    let said = lines.find_map(|line| {
        let json: Option<Value> = serde_json::from_slice(line).ok();
        json.filter(Value::is_object)
    });
    let said = said.unwrap_or_default();
    let sessions = said["sessions"].as_array().into_iter().flatten();
    sessions
        .filter_map(|session| {
            let points = match (session["points"].as_i64(), session["obstacle"].as_str()) {
                (Some(points), None) => points.to_string(),
                (Some(points), Some(why)) => format!("{points}, but {why}"),
                (None, why) => why.unwrap_or("-").to_owned(),
            };
            Some(Choice {
                session: session["session"].as_str()?.to_owned(),
                points,
            })
        })
        .collect()
}

/// Returns a command of ours, on the same queue.
fn own(global: &Global, command: &OwnCommand) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "assigner".into());
    let mut own = Command::new(program);
    if let Some(dir) = &global.data_dir {
        own.arg("--data-dir").arg(dir);
    }
    if let Some(socket) = &global.tmux_socket {
        own.arg("--tmux-socket").arg(socket);
    }
    if let Some(file) = &global.config {
        own.arg("--config").arg(file);
    }
    own.args(&command.words);
    own
}

/// Runs a command of ours without a screen; returns whether all went well, and what it printed.
fn quietly(global: &Global, command: &OwnCommand) -> Result<(bool, Vec<u8>), CommandFailure> {
    let (mut reader, writer) = io::pipe()?;
    let mut own = own(global, command);
    own.env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = own.spawn()?;
    // It holds the ends of the pipe on which the reader waits.
    drop(own);
    let input = command.input.clone();
    let stdin = child.stdin.take();
    thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // What it does not read is not needed.
            let _ = stdin.write_all(input.as_bytes());
        }
    });
    let printed = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = io::Read::read_to_end(&mut io::Read::take(&mut reader, LONGEST), &mut bytes);
        bytes
    });
    let Some(status) = ends(&mut child)? else {
        let said = format!("it took longer than {} s and was ended", PATIENCE.as_secs());
        return Ok((false, said.into_bytes()));
    };
    Ok((status.success(), printed.join().unwrap_or_default()))
}

/// Waits for the end of a child, and ends it if it takes too long.
fn ends(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether colours may be used, by `--color` and `NO_COLOR`.
fn has_colors() -> bool {
    !matches!(
        anstream::AutoStream::choice(&io::stdout()),
        anstream::ColorChoice::Never
    )
}

/// Returns what becomes true when this program is to end.
fn ended() -> Arc<AtomicBool> {
    signals::noticed(&[SignalKind::terminate(), SignalKind::hangup()], || {
        // If it waits for a terminal that has gone, nothing else ends it.
        thread::sleep(LONGEST_END);
        give_back();
        let _ = kill_process(getpid(), Signal::KILL);
    })
}

/// The terminal while it is ours.
struct OwnScreen {
    terminal: DefaultTerminal,
    is_open: bool,
}

impl OwnScreen {
    fn open() -> io::Result<Self> {
        let mut screen = Self {
            // After a panic, the terminal is the person's again.
            terminal: ratatui::try_init()?,
            is_open: true,
        };
        screen.listen()?;
        Ok(screen)
    }

    fn listen(&mut self) -> io::Result<()> {
        execute!(io::stdout(), EnableMouseCapture, EnableBracketedPaste)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.terminal = ratatui::try_init()?;
        self.is_open = true;
        self.terminal.clear()?;
        self.listen()
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            give_back();
        }
    }
}

impl Drop for OwnScreen {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes the terminal what it was.
fn give_back() {
    // One that has gone needs nothing.
    let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture);
    let _ = ratatui::try_restore();
}
