//! The requests to tmux: the text that `source-file` reads. Pure.
//!
//! Every answer begins with a line that carries the request's nonce, so that nothing a pane shows
//! can be mistaken for an answer. The last line of a complete answer is the nonce and `end`.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::quote::{self, word};
use super::{
    Aim, CursorLine, Error, Keys, NewSession, Pane, PaneOutput, Paste, Pipe, Refusal, Session,
    TypedLine,
};
use crate::model::ids::{Identity, PaneId};

/// The longest line that is typed, in bytes: half of what a terminal in canonical mode accepts.
pub const MAX_LINE: usize = 2_048;

/// The maximum number of bytes in all arguments of a pipe. Quoted, they fit the 8 KiB of tmux's
/// `strftime`; beyond that, tmux would silently run nothing.
pub const MAX_PIPE: usize = 1_600;

/// The last record of a complete answer.
pub(super) const END: &str = "end";

/// The state of a pane, in the order that [`PaneState`] reads.
const STATE: &str = "#{pid} #{start_time} #{pane_id} #{pane_pid} #{pane_dead} #{pane_in_mode} \
    #{pane_input_off} #{pane_synchronized} #{cursor_x} #{cursor_y} #{pane_pipe}";

/// The state of a session, which must be the same when it is ended, so that nobody is disturbed.
const SESSION: &str = "#{pid} #{start_time} #{session_id} #{session_attached} #{session_windows} \
    #{window_panes} #{?session_grouped,#{session_group_size},1} #{?window_linked,1,0} \
    #{pane_id} #{pane_pid} #{cursor_x} #{cursor_y}";

/// The options that mark a session that assigner has started: its pool, its owner, and whether it
/// has come up.
const POOL: &str = "@assigner_pool";
const OWNER: &str = "@assigner_pool_of";
const UP: &str = "@assigner_pool_up";

/// The maximum number of bytes in all texts of a session to be started.
const MAX_SESSION: usize = 64 << 10;

/// A request under construction.
pub(super) struct Script {
    nonce: String,
    text: String,
}

impl Script {
    /// Returns an empty request with a nonce of its own.
    pub(super) fn new() -> Self {
        // The hasher's keys are random and differ from call to call.
        let [first, second] = [(); 2].map(|()| RandomState::new().build_hasher().finish());
        Self {
            nonce: format!("assigner-{first:016x}{second:016x}"),
            text: String::new(),
        }
    }

    /// Returns the text that begins each line of an answer to this request.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Returns the whole request.
    pub(super) fn finish(&self) -> String {
        format!("{}display-message -p '{} {END}'\n", self.text, self.nonce)
    }

    /// Asks for every pane, for what each client shows, and which server answers.
    pub(super) fn panes(&mut self) {
        let nonce = &self.nonce;
        // Numbers first, then values that cannot contain a tab, then values that a program can set:
        // a command may contain tabs and newlines, but not the nonce.
        let pane = format!(
            "{nonce} pane\t#{{pid}}\t#{{start_time}}\t#{{pane_id}}\t#{{pane_pid}}\
             \t#{{window_index}}\t#{{pane_index}}\t#{{pane_dead}}\t#{{pane_in_mode}}\
             \t#{{pane_input_off}}\t#{{pane_synchronized}}\t#{{pane_pipe}}\t#{{alternate_on}}\
             \t#{{pane_width}}\t#{{?session_last_attached,1,0}}\t#{{cursor_x}}\t#{{cursor_y}}\
             \t#{{window_activity}}\t#{{pane_dead_status}}\
             \t#{{pane_tty}}\t#{{session_id}}\t#{{session_name}}\t#{{pane_title}}\t{nonce}#{{pane_current_command}}"
        );
        let client = format!("{nonce} client\t#{{client_activity}}\t#{{pane_id}}");
        let server = format!("{nonce} server\t#{{version}}\t#{{socket_path}}");
        self.push(&format!("list-panes -a -F {}", word(&pane)));
        self.push(&format!("list-clients -F {}", word(&client)));
        self.push(&format!("display-message -p {}", word(&server)));
    }

    /// Asks for every session.
    pub(super) fn sessions(&mut self) {
        // Numbers first, free text last: an option may contain anything.
        let session = format!(
            "{} session\t{SESSION}\t#{{pane_dead}}\t#{{pane_dead_status}}\
             \t#{{session_created}}\t#{{?{UP},1,0}}\t#{{session_name}}\t#{{{POOL}}}\t#{{{OWNER}}}",
            self.nonce
        );
        self.push(&format!("list-sessions -F {}", word(&session)));
    }

    /// Asks to start a session.
    ///
    /// # Errors
    ///
    /// One of its texts is not allowed; nothing was added.
    pub(super) fn start_session(&mut self, new: &NewSession) -> Result<(), Error> {
        let unfit = |what: &str| {
            Err(Error::Tmux(format!(
                "{what} of the new session is not allowed"
            )))
        };
        let plain = |text: &str| {
            let char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !text.is_empty() && text.bytes().all(char)
        };
        // tmux changes names with `:` and `.`, and expands formats in names.
        if !plain(&new.name) || !plain(&new.mark.pool) {
            return unfit("the name");
        }
        if !new.directory.starts_with('/') {
            return unfit("the directory");
        }
        let variables = new.variables.iter();
        let variables: Vec<String> = variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let texts = || {
            let given = [&new.directory, &new.mark.owner].into_iter();
            given.chain(&new.command).chain(&variables)
        };
        if texts().any(|text| text.contains(char::is_control)) {
            return unfit("a control character");
        }
        if new.command.is_empty() || texts().map(String::len).sum::<usize>() > MAX_SESSION {
            return unfit("the command");
        }
        let name = &new.name;
        // -E: it must not get variables of assigner's own environment. The size applies until
        // somebody attaches; a wide one breaks fewer lines.
        let mut line = format!(
            "new-session -d -E -x 160 -y 48 -P -F {} -s {name} -c {}",
            self.mark("started", 0, ""),
            word(&quote::format(&new.directory)),
        );
        for variable in &variables {
            line += &format!(" -e {}", word(variable));
        }
        line += " --";
        for text in &new.command {
            line += &format!(" {}", word(text));
        }
        // In the same step, so that no session of ours is ever without its mark.
        for (option, value) in [(POOL, &new.mark.pool), (OWNER, &new.mark.owner)] {
            line += &format!(" ; set-option -t ={name}: {option} {}", word(value));
        }
        // It must not end with the first client that leaves it.
        line += &format!(" ; set-option -t ={name}: destroy-unattached off");
        // If a program ends at once, its output stays.
        line += &format!(" ; set-option -w -t ={name}: remain-on-exit on");
        self.push(&line);
        Ok(())
    }

    /// Asks to note that a session has come up.
    pub(super) fn mark_up(&mut self, session: &Session) {
        let id = word(&session.id.0);
        let here = &session.pane;
        let condition = format!(
            "#{{==:#{{pid}} #{{start_time}} #{{session_id}},{} {} {}}}",
            here.server_pid, here.server_start, session.id.0
        );
        let done = self.mark("done", 0, "");
        self.push(&format!(
            "if-shell -F -t '{}:' {} {{ set-option -t {id} {UP} 1 ; display-message -p {done} }}",
            session.id.0,
            word(&condition),
        ));
    }

    /// Asks to end a session.
    pub(super) fn end_session(&mut self, session: &Session) {
        let Session {
            id, pane, cursor, ..
        } = session;
        // Nobody attached, one window with one pane, in no group, not linked.
        let condition = format!(
            "#{{==:{SESSION},{} {} {} 0 1 1 1 0 {} {} {} {}}}",
            pane.server_pid, pane.server_start, id.0, pane.pane, pane.pane_pid, cursor.0, cursor.1,
        );
        let done = self.mark("done", 0, "");
        // Reported before it is done: with its last session, the server may end.
        self.push(&format!(
            "if-shell -F -t '{}:' {} {{ display-message -p {done} ; kill-session -t {} }}",
            id.0,
            word(&condition),
            word(&id.0),
        ));
    }

    /// Asks for the line that the cursor was in when the pane was listed, and the lines around it.
    pub(super) fn cursor_line(&mut self, index: usize, pane: &Pane) {
        let (id, row) = (&pane.identity.pane, pane.cursor.1);
        let mark = self.mark("cursor", index, STATE);
        self.push(&format!("display-message -p -t {id} {mark}"));
        let last = row.saturating_add(CursorLine::BELOW);
        let first = row.saturating_sub(CursorLine::ABOVE);
        self.push(&format!("capture-pane -p -t {id} -S {first} -E {last}"));
    }

    /// Asks to type a line.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unfit`]; nothing was added.
    pub(super) fn type_line(&mut self, index: usize, line: &TypedLine) -> Result<(), Refusal> {
        if line.text.len() > MAX_LINE {
            return Err(Refusal::Unfit("the line is too long to be typed"));
        }
        if line.text.is_empty() || line.text.contains(char::is_control) {
            return Err(Refusal::Unfit(
                "the line is empty or has a control character",
            ));
        }
        let pane = &line.identity.pane;
        let pipe = match &line.output {
            PaneOutput::To(pipe) => format!("pipe-pane -O -t {pane} {} ; ", pipe_command(pipe)?),
            PaneOutput::AsItIs | PaneOutput::Piped => String::new(),
        };
        let buffer = format!("{}-{index}", self.nonce);
        // -p: bracketed if the program asked for that; -r: unchanged; -d: no copy stays.
        let enter = match line.key {
            Some(key) => {
                let bytes: String = key.iter().map(|byte| format!(" {byte:02x}")).collect();
                format!("send-keys -t {pane} -H{bytes}")
            }
            None => format!(
                "set-buffer -b {buffer} -- {} ; paste-buffer -p -r -d -b {buffer} -t {pane} ; \
                 send-keys -t {pane} Enter",
                word(&line.text)
            ),
        };
        let then = format!(
            "{pipe}display-message -p {} ; {enter} ; display-message -p {}",
            self.mark("typing", index, ""),
            self.mark("typed", index, ""),
        );
        self.guard(index, &RequiredPane::typing(line), &then);
        Ok(())
    }

    /// Asks for a pane's screen.
    pub(super) fn screen(&mut self, index: usize, identity: &Identity) {
        let id = &identity.pane;
        let mark = self.mark("screen", index, &format!("#{{cursor_flag}} {STATE}"));
        self.push(&format!("display-message -p -t {id} {mark}"));
        self.push(&format!("capture-pane -p -e -t {id}"));
    }

    /// Asks to paste a text into a pane. It is in a buffer only within the one step, because a prompt
    /// must not be left where everybody can see and paste it.
    pub(super) fn paste(&mut self, paste: &Paste) {
        let pane = &paste.aim.identity.pane;
        let buffer = format!("{}-0", self.nonce);
        let then = format!(
            "set-buffer -b {buffer} -- {} ; display-message -p {} ; \
             paste-buffer -p -r -d -b {buffer} -t {pane} ; display-message -p {}",
            quote::text(&paste.text),
            self.mark("typing", 0, ""),
            self.mark("typed", 0, ""),
        );
        self.guard(0, &RequiredPane::aimed(&paste.aim), &then);
        self.push(&format!("delete-buffer -b {buffer}"));
    }

    /// Asks to press keys.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unfit`]; nothing was added.
    pub(super) fn press(&mut self, keys: &Keys) -> Result<(), Refusal> {
        let is_name = |name: &String| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !name.is_empty() && name.bytes().all(plain) && !name.starts_with('-')
        };
        if keys.literal.contains(char::is_control) || !keys.names.iter().all(is_name) {
            return Err(Refusal::Unfit("that is not a tmux key name"));
        }
        if keys.literal.len() > MAX_LINE || (keys.literal.is_empty() && keys.names.is_empty()) {
            return Err(Refusal::Unfit("there is nothing to type, or too much"));
        }
        let pane = &keys.aim.identity.pane;
        let mut then = format!("display-message -p {}", self.mark("typing", 0, ""));
        if !keys.literal.is_empty() {
            // A `;` at the end of an argument would be taken for the end of the command.
            let text = match keys.literal.strip_suffix(';') {
                Some(rest) => format!("{rest}\\;"),
                None => keys.literal.clone(),
            };
            then += &format!(" ; send-keys -t {pane} -l -- {}", word(&text));
        }
        if !keys.names.is_empty() {
            then += &format!(" ; send-keys -t {pane} {}", keys.names.join(" "));
        }
        then += &format!(" ; display-message -p {}", self.mark("typed", 0, ""));
        self.guard(0, &RequiredPane::aimed(&keys.aim), &then);
        Ok(())
    }

    /// Asks to press Ctrl-C.
    pub(super) fn interrupt(&mut self, index: usize, identity: &Identity) {
        let pane = &identity.pane;
        let (typing, typed) = (
            self.mark("typing", index, ""),
            self.mark("typed", index, ""),
        );
        let then = format!(
            "display-message -p {typing} ; send-keys -t {pane} C-c ; display-message -p {typed}"
        );
        self.guard(index, &RequiredPane::key(identity), &then);
    }

    /// Asks for the terminals that show tmux.
    pub(super) fn terminals(&mut self) {
        let client = format!("{} terminal\t#{{client_tty}}", self.nonce);
        self.push(&format!("list-clients -F {}", word(&client)));
    }

    /// Asks to end a pipe.
    pub(super) fn close_pipe(&mut self, identity: &Identity) {
        self.guard(
            0,
            &RequiredPane::pane(identity),
            &format!("pipe-pane -t {}", identity.pane),
        );
    }

    /// Asks for the end of a pane's screen and `lines` of its history.
    pub(super) fn tail(&mut self, identity: &Identity, lines: u32) {
        let pane = &identity.pane;
        let mark = self.mark("tail", 0, "");
        let then = format!("display-message -p {mark} ; capture-pane -p -J -t {pane} -S -{lines}");
        self.guard(0, &RequiredPane::pane(identity), &then);
    }

    /// Does `then` if the pane is as wanted, and otherwise reports its state. This is one step,
    /// because tmux reads nothing from any terminal in between. It also keeps `paste-buffer` away
    /// from dead panes, where it crashes the server of tmux 3.3a.
    fn guard(&mut self, index: usize, wanted: &RequiredPane<'_>, then: &str) {
        let (pane, condition) = (&wanted.identity.pane, wanted.condition());
        let refused = self.mark("refused", index, STATE);
        self.push(&format!(
            "if-shell -F -t {pane} {} {{ {then} }} {{ display-message -p -t {pane} {refused} }}",
            word(&condition),
        ));
    }

    /// Returns the quoted text of a record.
    fn mark(&self, name: &str, index: usize, rest: &str) -> String {
        word(format!("{} {name} {index} {rest}", self.nonce).trim_end())
    }

    fn push(&mut self, line: &str) {
        // Infallible for a String.
        let _ = writeln!(self.text, "{line}");
    }
}

fn pipe_command(pipe: &Pipe) -> Result<String, Refusal> {
    if pipe.argv.is_empty() || pipe.argv.iter().map(String::len).sum::<usize>() > MAX_PIPE {
        return Err(Refusal::Unfit("the pipe has no program or is too long"));
    }
    if pipe.argv.iter().any(|word| word.contains(char::is_control)) {
        return Err(Refusal::Unfit("the pipe has a control character"));
    }
    Ok(word(&quote::pipe(&pipe.argv)))
}

/// The state in which a pane must be for something to be done to it.
pub(super) struct RequiredPane<'a> {
    identity: &'a Identity,
    /// Whether keys must reach its program, and only its program.
    open: bool,
    cursor: Option<(u32, u32)>,
    /// Whether its output must be piped, or must not be.
    piped: Option<bool>,
    /// The program that must be in the foreground.
    command: Option<&'a str>,
}

impl<'a> RequiredPane<'a> {
    pub(super) fn aimed(aim: &'a Aim) -> Self {
        // Other names could mean something in a format, so they are not compared.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let command = aim.command.as_deref();
        Self {
            identity: &aim.identity,
            open: true,
            cursor: Some(aim.cursor),
            piped: None,
            command: command.filter(|name| !name.is_empty() && name.bytes().all(plain)),
        }
    }

    pub(super) fn typing(line: &'a TypedLine) -> Self {
        Self {
            identity: &line.identity,
            open: true,
            cursor: Some(line.cursor),
            piped: match line.output {
                PaneOutput::AsItIs => None,
                PaneOutput::To(_) => Some(false),
                PaneOutput::Piped => Some(true),
            },
            command: None,
        }
    }

    pub(super) fn key(identity: &'a Identity) -> Self {
        Self {
            identity,
            open: true,
            cursor: None,
            piped: None,
            command: None,
        }
    }

    fn pane(identity: &'a Identity) -> Self {
        Self {
            identity,
            open: false,
            cursor: None,
            piped: None,
            command: None,
        }
    }

    /// Returns the tmux format that is true if the pane is in this state: a comparison of two texts
    /// that contain only numbers and a pane's id.
    fn condition(&self) -> String {
        let Identity {
            node: _,
            server_pid,
            server_start,
            pane,
            pane_pid,
        } = self.identity;
        let mut is = "#{pid} #{start_time} #{pane_id} #{pane_pid}".to_owned();
        let mut must = format!("{server_pid} {server_start} {pane} {pane_pid}");
        if self.open {
            is += " #{pane_dead} #{pane_in_mode} #{pane_input_off} #{pane_synchronized}";
            must += " 0 0 0 0";
        }
        if let Some((column, row)) = self.cursor {
            is += " #{cursor_x} #{cursor_y}";
            must += &format!(" {column} {row}");
        }
        if let Some(piped) = self.piped {
            is += " #{pane_pipe}";
            must += if piped { " 1" } else { " 0" };
        }
        if let Some(command) = self.command {
            is += " #{pane_current_command}";
            must += &format!(" {command}");
        }
        format!("#{{==:{is},{must}}}")
    }

    /// Returns what is wrong with a pane in this state, most important first.
    pub(super) fn refusal(&self, state: &PaneState) -> Option<Refusal> {
        let here = self.identity;
        let same_server =
            (state.server_pid, state.server_start) == (here.server_pid, here.server_start);
        Some(if !same_server || state.pane != here.pane {
            Refusal::Gone
        } else if state.pane_pid != i64::from(here.pane_pid) {
            Refusal::Respawned
        } else if self.open && state.dead {
            Refusal::Dead
        } else if self.open && state.in_mode {
            Refusal::Mode
        } else if self.open && state.input_off {
            Refusal::InputOff
        } else if self.open && state.synchronized {
            Refusal::Synchronized
        } else if self.cursor.is_some_and(|cursor| cursor != state.cursor) {
            Refusal::CursorMoved
        } else if self.piped.is_some_and(|piped| piped != state.piped) {
            match state.piped {
                true => Refusal::Piped,
                false => Refusal::Unpiped,
            }
        } else if self.command.is_some() {
            // Everything else is as wanted.
            Refusal::OtherProgram
        } else {
            return None;
        })
    }
}

/// The state of a pane, as tmux printed it for [`STATE`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PaneState {
    pub(super) server_pid: u32,
    pub(super) server_start: i64,
    pub(super) pane: PaneId,
    pub(super) pane_pid: i64,
    pub(super) dead: bool,
    pub(super) in_mode: bool,
    pub(super) input_off: bool,
    pub(super) synchronized: bool,
    pub(super) cursor: (u32, u32),
    pub(super) piped: bool,
}

impl PaneState {
    /// Returns `None` if tmux knows no such pane: then fields are empty, or those of another pane.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let mut next = || fields.next();
        let state = Self {
            server_pid: next()?.parse().ok()?,
            server_start: next()?.parse().ok()?,
            pane: PaneId::parse(next()?)?,
            pane_pid: next()?.parse().ok()?,
            dead: next()? != "0",
            // The number of modes on top of each other.
            in_mode: next()? != "0",
            input_off: next()? != "0",
            synchronized: next()? != "0",
            cursor: (next()?.parse().ok()?, next()?.parse().ok()?),
            piped: next()? != "0",
        };
        fields.next().is_none().then_some(state)
    }

    /// Whether this is the state of `pane` with its cursor in the same place.
    pub(super) fn still(&self, pane: &Pane) -> bool {
        self.is_of(&pane.identity) && self.cursor == pane.cursor
    }

    /// Whether this is the state of that pane with its first process.
    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        (self.server_pid, self.server_start) == (identity.server_pid, identity.server_start)
            && self.pane == identity.pane
            && self.pane_pid == i64::from(identity.pane_pid)
    }
}

/// Splits a line of a screen at a column. Characters are as wide as Unicode says. tmux agrees
/// except for a few symbols; there the split is off by a column.
pub(super) fn split_at_column(line: &str, column: u32) -> CursorLine {
    use unicode_width::UnicodeWidthChar;

    let column = column as usize;
    let mut width = 0;
    let mut at = line.len();
    for (index, char) in line.char_indices() {
        let next = width + char.width().unwrap_or(0);
        // A combining character on the border belongs to the character before it.
        if next > column {
            at = index;
            break;
        }
        width = next;
    }
    let (before, after) = line.split_at(at);
    let before = format!("{before}{:pad$}", "", pad = column.saturating_sub(width));
    CursorLine {
        before,
        after: after.trim_end().to_owned(),
        above: Vec::new(),
        below: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
