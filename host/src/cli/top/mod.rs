//! `assigner top`: the whole fleet on one screen, and everything that can be done from there.
//!
//! What is on the screen is read from the queue ([`fleet`]), what a key means is decided by a state that
//! knows no terminal ([`state`]), and what it does is one of our own commands: here they are run.

mod acts;
mod draw;
mod fields;
mod fleet;
mod own;
mod page;
mod plain;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
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
use acts::{Choice, OwnCommand, TopAct, TopNext};
use draw::TopLook;
use fleet::{Fleet, TaskFacts};
use own::{OwnEnd, OwnRuns, own};
use state::{Mode, TopState};

/// How long nothing is done if no key is pressed. Whether anything has changed costs microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often ages are drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// A queue that changes all the time is read no more often.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How long its own end may take once it was told to end.
const LONGEST_END: Duration = Duration::from_secs(3);

/// And so often while a command of ours runs: its end is to be seen at once.
const LOOK_FOR_END: Duration = Duration::from_millis(5);

/// What is seen of a session is asked for no more often while its page is open.
const EXAMINE_EVERY: Duration = Duration::from_secs(2);

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
    let over = told_to_end();
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
    // What is seen of a session holds up nothing that a person asks for.
    let (mut runs, mut looks) = (OwnRuns::default(), OwnRuns::default());
    let mut seen = store.data_version()?;
    let (mut read, mut drawn) = (Instant::now(), None::<Instant>);
    let mut examined = Instant::now();
    while !over.load(Ordering::Relaxed) {
        while let Some((next, end)) = runs.step(global).or_else(|| looks.step(global)) {
            ended(next, &end, &mut state);
            drawn = None;
            // It may have changed what is shown.
            read = long_ago();
        }
        if runs.is_brief() {
            thread::sleep(LOOK_FOR_END);
            continue;
        }
        if state.doing.as_deref() != runs.doing() {
            state.doing = runs.doing().map(str::to_owned);
            drawn = None;
        }
        if drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY) {
            let now = Timestamp::now();
            let draw = |frame: &mut ratatui::Frame<'_>| {
                draw::draw(frame, &mut state, &fleet, now, &look);
            };
            screen.terminal.draw(draw)?;
            drawn = Some(Instant::now());
        }
        let wait = match runs.is_empty() && looks.is_empty() {
            true => LOOK_EVERY,
            false => LOOK_FOR_END,
        };
        if listen(wait)? == TerminalSays::Gone {
            break;
        }
        // One at a time: what a key does may take the keys after it.
        while !runs.is_brief()
            && listen(Duration::ZERO)? != TerminalSays::Gone
            && event::poll(Duration::ZERO)?
        {
            let act = happened(event::read()?, &mut state, &fleet);
            drawn = None;
            match act {
                Some(TopAct::Quit) => return Ok(Exit::Done),
                Some(act) => {
                    // What could not be done is said; only a terminal that has gone ends this.
                    let lanes = (&mut runs, &mut looks);
                    let done = does(act, (context, global), store, screen, &mut state, lanes);
                    if let Err(failure) = done {
                        state.message = failure.message;
                    }
                    examined = Instant::now();
                }
                None => {}
            }
        }
        if examined.elapsed() >= EXAMINE_EVERY && looks.is_empty() {
            examined = Instant::now();
            if let Some(TopAct::Examine(identity, name)) = state.examines(&fleet) {
                looks.push(examination(&name), TopNext::Examined(identity));
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

/// Does what is to happen, or has it done by a command of ours.
fn does(
    act: TopAct,
    (context, global): (&Context, &Global),
    store: &mut Store,
    screen: &mut OwnScreen,
    state: &mut TopState,
    (runs, looks): (&mut OwnRuns, &mut OwnRuns),
) -> Result<(), CommandFailure> {
    match act {
        TopAct::Quit => {}
        TopAct::Run(command) => runs.push(command, TopNext::Tell(state.written())),
        TopAct::Read(title, command) => runs.push(command, TopNext::Read(title)),
        TopAct::Leave(command) => {
            screen.close();
            let status = own(global, &command).status();
            screen.reopen()?;
            match status {
                Ok(status) if status.success() => state.message.clear(),
                Ok(_) => runs.push(with_print(&command), TopNext::Tell(None)),
                Err(error) => state.message = error.to_string(),
            }
        }
        TopAct::Open(id) => {
            let facts = TaskFacts::read(context, store, id)?;
            state.mode = Mode::Task(Box::new(facts), 0);
        }
        TopAct::Choose(id) => {
            let command = OwnCommand::new(&["--json", "explain", &id.to_string()]);
            runs.push(command, TopNext::Offer(id));
        }
        TopAct::Examine(identity, name) => {
            looks.push(examination(&name), TopNext::Examined(identity));
        }
    }
    Ok(())
}

/// Returns the command that tells what is seen of a session.
fn examination(name: &str) -> OwnCommand {
    OwnCommand::new(&["doctor", "--", name])
}

/// Shows what came of a command.
fn ended(next: TopNext, end: &OwnEnd, state: &mut TopState) {
    let lines = |said: &[u8]| -> Vec<String> {
        let said = output::harmless(said);
        said.lines().map(str::to_owned).collect()
    };
    match next {
        TopNext::Tell(written) => state.has_run(written, end.is_well, last_line(&end.said)),
        TopNext::Read(title) => state.reads(title, lines(&end.said)),
        TopNext::Offer(id) => state.offers(id, choices(&end.said)),
        TopNext::Examined(identity) => state.is_examined(&identity, lines(&end.said)),
    }
}

/// Returns a time after which everything may be read again.
fn long_ago() -> Instant {
    let now = Instant::now();
    now.checked_sub(READ_EVERY).unwrap_or(now)
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

/// Whether colours may be used, by `--color` and `NO_COLOR`.
fn has_colors() -> bool {
    !matches!(
        anstream::AutoStream::choice(&io::stdout()),
        anstream::ColorChoice::Never
    )
}

/// Returns what becomes true when this program is to end.
fn told_to_end() -> Arc<AtomicBool> {
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
