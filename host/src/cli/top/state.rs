//! What a person does in `top`: where they are, and what each key means there. Nothing happens here; what
//! is to happen is said by a [`TopAct`].

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::acts::{Choice, OwnCommand, Purpose, TopAct, written};
use super::fields::{LONGEST, TaskForm, TextField};
use super::fleet::{Fleet, TaskFacts};
use crate::model::ids::{Identity, TaskId};
use crate::model::task::{Status, Task};
use crate::store::SessionRow;

/// A part of the first page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TopSection {
    /// Tasks that wait for a person.
    Asking,
    /// Sessions.
    Sessions,
    /// What runs and what waits.
    Queue,
    /// What has ended.
    Ended,
}

impl TopSection {
    pub(super) const ALL: [Self; 4] = [Self::Asking, Self::Sessions, Self::Queue, Self::Ended];

    /// Returns the name that stands above it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Asking => "WAITS FOR YOU",
            Self::Sessions => "SESSIONS",
            Self::Queue => "QUEUE",
            Self::Ended => "ENDED",
        }
    }
}

/// What a line of a section is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Task(TaskId),
    Session(Identity),
}

/// The order of a section's lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LineOrder {
    /// As it matters: who waits first, the head of the queue, the newest end.
    #[default]
    Usual,
    /// By the name of the session.
    Name,
    /// The one that has been so for the longest time first.
    Longest,
}

impl LineOrder {
    fn next(self) -> Self {
        match self {
            Self::Usual => Self::Name,
            Self::Name => Self::Longest,
            Self::Longest => Self::Usual,
        }
    }

    /// Returns how it is called on the screen; nothing for the usual one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Name => "by session",
            Self::Longest => "longest first",
        }
    }
}

/// What is in front of the first page, or instead of it.
#[derive(Debug)]
pub(super) enum Mode {
    /// The first page.
    Browse,
    /// What is looked for is being written.
    Filter,
    /// Something ends something: it is asked once.
    Confirm(String, OwnCommand),
    /// A line of text is being written.
    Write(Purpose, TextField),
    /// A session is being chosen for a task.
    Choose(TaskId, Vec<Choice>, usize),
    /// A new task is being written.
    New(TaskForm),
    /// The page of a task, with the line at its top.
    Task(Box<TaskFacts>, usize),
    /// The page of a session, with the line at its top, and what is seen of it once that is known.
    Session(Identity, usize, Option<Vec<String>>),
    /// A text, with its title and the line at its top.
    Text(String, Vec<String>, usize),
    /// The keys.
    Help,
}

/// Everything that a person has chosen so far.
#[derive(Debug)]
pub(super) struct TopState {
    pub(super) section: TopSection,
    /// The line that is chosen in each section, and where it stood.
    chosen: [(usize, Option<Subject>); 4],
    pub(super) filter: TextField,
    pub(super) order: LineOrder,
    pub(super) mode: Mode,
    /// What was written and is being done: it comes back if it cannot be.
    written: Option<Mode>,
    /// What the last command said.
    pub(super) message: String,
    /// A command of ours that takes its time.
    pub(super) doing: Option<String>,
    /// How many lines a page has, as it was last drawn.
    pub(super) height: usize,
    /// Where the lines of each section were last drawn: section, first row of the screen, first and last
    /// column, and the number of its first line.
    pub(super) drawn: Vec<(TopSection, u16, (u16, u16), usize)>,
}

impl Default for TopState {
    fn default() -> Self {
        Self {
            section: TopSection::Sessions,
            chosen: [const { (0, None) }; 4],
            filter: TextField::default(),
            order: LineOrder::Usual,
            mode: Mode::Browse,
            written: None,
            message: String::new(),
            doing: None,
            height: 20,
            drawn: Vec::new(),
        }
    }
}

impl TopState {
    /// Starts where something waits for a person, if anything does.
    pub(super) fn new(fleet: &Fleet) -> Self {
        let section = match fleet.asking.is_empty() {
            true => TopSection::Sessions,
            false => TopSection::Asking,
        };
        Self {
            section,
            ..Self::default()
        }
    }

    /// Returns the lines of a section, in their order, as far as they contain what is looked for.
    pub(super) fn lines(&self, section: TopSection, fleet: &Fleet) -> Vec<Subject> {
        let wanted = self.filter.text().to_lowercase();
        let of_tasks = |tasks: &mut dyn Iterator<Item = &Task>| {
            let mut tasks: Vec<&Task> = tasks.filter(|task| task_has(task, &wanted)).collect();
            match self.order {
                LineOrder::Usual => {}
                LineOrder::Name => tasks.sort_by(|a, b| a.session.cmp(&b.session)),
                LineOrder::Longest => {
                    tasks.sort_by_key(|task| task.completed_at.unwrap_or(task.created_at));
                }
            }
            tasks.iter().map(|task| Subject::Task(task.id)).collect()
        };
        match section {
            TopSection::Asking => of_tasks(&mut fleet.asking.iter()),
            TopSection::Queue => of_tasks(&mut fleet.queue.iter()),
            TopSection::Ended => of_tasks(&mut fleet.ended.iter().map(|(task, _)| task)),
            TopSection::Sessions => {
                let has = |row: &&SessionRow| session_has(row, &wanted);
                let mut rows: Vec<&SessionRow> = fleet.sessions.iter().filter(has).collect();
                match self.order {
                    LineOrder::Usual => {}
                    LineOrder::Name => rows.sort_by(|a, b| a.name.cmp(&b.name)),
                    LineOrder::Longest => rows.sort_by_key(|row| row.since),
                }
                rows.iter()
                    .map(|row| Subject::Session(row.identity.clone()))
                    .collect()
            }
        }
    }

    /// Returns the number of the chosen line of a section, and what it is about.
    pub(super) fn chosen(
        &self,
        section: TopSection,
        lines: &[Subject],
    ) -> (usize, Option<Subject>) {
        let (place, subject) = &self.chosen[section as usize];
        let same = subject
            .as_ref()
            .and_then(|subject| lines.iter().position(|line| line == subject));
        // If it has gone, what stands there now.
        let index = same.unwrap_or((*place).min(lines.len().saturating_sub(1)));
        (index, lines.get(index).cloned())
    }

    /// Takes note of where the chosen line of a section stands now, and returns its number.
    pub(super) fn settle(&mut self, section: TopSection, lines: &[Subject]) -> usize {
        let (index, subject) = self.chosen(section, lines);
        self.chosen[section as usize] = (index, subject);
        index
    }

    fn choose(&mut self, section: TopSection, index: usize, fleet: &Fleet) {
        let lines = self.lines(section, fleet);
        let index = index.min(lines.len().saturating_sub(1));
        self.chosen[section as usize] = (index, lines.get(index).cloned());
    }

    /// Returns what the chosen line of the current section is about.
    fn subject(&self, fleet: &Fleet) -> Option<Subject> {
        self.chosen(self.section, &self.lines(self.section, fleet))
            .1
    }

    /// Returns the task that keys are about: that of a line or of a page, or what a session runs.
    fn task(&self, fleet: &Fleet) -> Option<Task> {
        if let Mode::Task(facts, _) = &self.mode {
            return Some(facts.task.clone());
        }
        match self.subject(fleet)? {
            Subject::Task(id) => fleet.task(id).cloned(),
            Subject::Session(identity) => {
                let id = fleet.session(&identity)?.current_task?;
                fleet.task(id).cloned()
            }
        }
    }

    /// Returns the session that keys are about.
    fn session<'f>(&self, fleet: &'f Fleet) -> Option<&'f SessionRow> {
        if let Mode::Session(identity, ..) = &self.mode {
            return fleet.session(identity);
        }
        match self.subject(fleet)? {
            Subject::Session(identity) => fleet.session(&identity),
            Subject::Task(id) => {
                let name = fleet.task(id)?.session.as_deref()?;
                fleet.sessions.iter().find(|row| row.name == name)
            }
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent, fleet: &Fleet) -> Option<TopAct> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c')) {
            return Some(TopAct::Quit);
        }
        self.message.clear();
        match &mut self.mode {
            Mode::Browse => self.browse(key, fleet),
            Mode::Filter => {
                match key.code {
                    KeyCode::Enter => self.mode = Mode::Browse,
                    KeyCode::Esc => {
                        self.filter = TextField::default();
                        self.mode = Mode::Browse;
                    }
                    KeyCode::Up | KeyCode::Down => return self.browse(key, fleet),
                    _ => self.filter.key(key),
                }
                None
            }
            Mode::Confirm(_, command) => {
                let command = command.clone();
                self.mode = Mode::Browse;
                let is_yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
                is_yes.then_some(TopAct::Run(command))
            }
            Mode::Write(purpose, field) => match key.code {
                KeyCode::Esc => self.back(),
                KeyCode::Enter if !key.modifiers.contains(KeyModifiers::ALT) => {
                    let act = written(purpose, &field.text());
                    self.done();
                    act
                }
                _ => {
                    field.key(key);
                    None
                }
            },
            Mode::Choose(task, choices, index) => match key.code {
                KeyCode::Esc | KeyCode::Char('q') => self.back(),
                KeyCode::Up | KeyCode::Char('k') => {
                    *index = index.saturating_sub(1);
                    None
                }
                KeyCode::Down | KeyCode::Char('j') => {
                    *index = (*index + 1).min(choices.len().saturating_sub(1));
                    None
                }
                KeyCode::Enter => {
                    let task = task.to_string();
                    let chosen = choices.get(*index)?;
                    let words = ["reassign", &task, "--to", &chosen.session];
                    let act = TopAct::Run(OwnCommand::new(&words));
                    self.mode = Mode::Browse;
                    Some(act)
                }
                _ => None,
            },
            Mode::New(form) => match key.code {
                KeyCode::Esc => self.back(),
                KeyCode::Enter if !key.modifiers.contains(KeyModifiers::ALT) => {
                    match form.command() {
                        Ok(command) => {
                            self.done();
                            Some(TopAct::Run(command))
                        }
                        Err(why) => {
                            self.message = why.to_owned();
                            None
                        }
                    }
                }
                _ => {
                    form.key(key);
                    None
                }
            },
            Mode::Task(..) | Mode::Session(..) => match key.code {
                KeyCode::Esc | KeyCode::Char('q') | KeyCode::Left => self.back(),
                _ if self.scrolls(key) => None,
                _ => self.acts(key, fleet),
            },
            Mode::Text(..) | Mode::Help => match key.code {
                _ if self.scrolls(key) => None,
                _ => self.back(),
            },
        }
    }

    /// Returns to the first page.
    fn back(&mut self) -> Option<TopAct> {
        self.mode = Mode::Browse;
        None
    }

    /// Returns to the first page with something that was written, and keeps it until it is done.
    fn done(&mut self) {
        self.written = Some(std::mem::replace(&mut self.mode, Mode::Browse));
    }

    /// Returns what was written for the command that is to run.
    pub(super) fn written(&mut self) -> Option<Mode> {
        self.written.take()
    }

    /// A command has ended, well or not, and said this. What was written for it comes back if it failed,
    /// unless something else is being done meanwhile.
    pub(super) fn has_run(&mut self, written: Option<Mode>, is_well: bool, said: String) {
        self.message = said;
        if let Some(written) = written.filter(|_| !is_well && matches!(self.mode, Mode::Browse)) {
            self.mode = written;
        }
    }

    /// Whether nothing is being written or chosen that something new on the screen would interrupt.
    fn is_free(&self) -> bool {
        let reads = matches!(self.mode, Mode::Text(..) | Mode::Help);
        reads || matches!(self.mode, Mode::Browse | Mode::Task(..) | Mode::Session(..))
    }

    /// A text is there to be read.
    pub(super) fn reads(&mut self, title: String, lines: Vec<String>) {
        if self.is_free() {
            self.mode = Mode::Text(title, lines, 0);
        }
    }

    /// Returns what is to be asked about the session whose page is open.
    pub(super) fn examines(&self, fleet: &Fleet) -> Option<TopAct> {
        let Mode::Session(identity, ..) = &self.mode else {
            return None;
        };
        let name = fleet.session(identity)?.name.clone();
        Some(TopAct::Examine(identity.clone(), name))
    }

    /// What is seen of a session is known.
    pub(super) fn is_examined(&mut self, of: &Identity, lines: Vec<String>) {
        if let Mode::Session(identity, _, seen) = &mut self.mode
            && identity == of
        {
            *seen = Some(lines);
        }
    }

    /// A text was pasted.
    pub(super) fn paste(&mut self, text: &str) {
        let fits = match &mut self.mode {
            Mode::Filter => self.filter.paste(&text.replace(['\n', '\r'], " ")),
            Mode::Write(_, field) => field.paste(text),
            Mode::New(form) => form.current().is_none_or(|field| field.paste(text)),
            _ => true,
        };
        if !fits {
            self.message = format!("that is too long for here: at most {LONGEST} bytes");
        }
    }

    /// Moves a page that is longer than the screen, if the key does that.
    fn scrolls(&mut self, key: KeyEvent) -> bool {
        let height = self.height.max(1);
        let (Mode::Task(_, top) | Mode::Session(_, top, _) | Mode::Text(_, _, top)) =
            &mut self.mode
        else {
            return false;
        };
        // How far it goes is known where it is drawn.
        *top = match key.code {
            KeyCode::Up | KeyCode::Char('k') => top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => top.saturating_add(1),
            KeyCode::PageUp => top.saturating_sub(height),
            KeyCode::PageDown | KeyCode::Char(' ') => top.saturating_add(height),
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX / 2,
            _ => return false,
        };
        true
    }

    fn browse(&mut self, key: KeyEvent, fleet: &Fleet) -> Option<TopAct> {
        let lines = self.lines(self.section, fleet);
        let (index, _) = self.chosen(self.section, &lines);
        let section = self.section;
        let half = (self.height / 2).max(1);
        match key.code {
            KeyCode::Up | KeyCode::Char('k') if index == 0 => self.turn(-1, fleet),
            KeyCode::Down | KeyCode::Char('j') if index + 1 >= lines.len() => self.turn(1, fleet),
            KeyCode::Up | KeyCode::Char('k') => self.choose(section, index - 1, fleet),
            KeyCode::Down | KeyCode::Char('j') => self.choose(section, index + 1, fleet),
            KeyCode::PageUp => self.choose(section, index.saturating_sub(half), fleet),
            KeyCode::PageDown => self.choose(section, index + half, fleet),
            KeyCode::Home => self.choose(section, 0, fleet),
            KeyCode::End => self.choose(section, lines.len(), fleet),
            KeyCode::Tab => self.turn(1, fleet),
            KeyCode::BackTab => self.turn(-1, fleet),
            KeyCode::Char('1') => self.section = TopSection::Asking,
            KeyCode::Char('2') => self.section = TopSection::Sessions,
            KeyCode::Char('3') => self.section = TopSection::Queue,
            KeyCode::Char('4') => self.section = TopSection::Ended,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('n') => self.mode = Mode::New(TaskForm::default()),
            KeyCode::Char('q') => return Some(TopAct::Quit),
            KeyCode::Esc => self.filter = TextField::default(),
            KeyCode::Enter | KeyCode::Right => return self.opens(fleet),
            _ => return self.acts(key, fleet),
        }
        None
    }

    /// Goes to the next section that has lines, or the one before.
    fn turn(&mut self, by: isize, fleet: &Fleet) {
        let count = TopSection::ALL.len().cast_signed();
        let mut at = self.section as isize;
        for _ in 1..count {
            at = (at + by).rem_euclid(count);
            let section = TopSection::ALL[at.cast_unsigned()];
            let lines = self.lines(section, fleet);
            if !lines.is_empty() {
                self.section = section;
                return;
            }
        }
    }

    fn opens(&mut self, fleet: &Fleet) -> Option<TopAct> {
        match self.subject(fleet)? {
            Subject::Task(id) if self.section == TopSection::Asking => {
                self.mode = Mode::Write(Purpose::Reply(id), TextField::default());
                None
            }
            Subject::Task(id) => Some(TopAct::Open(id)),
            Subject::Session(identity) => {
                self.mode = Mode::Session(identity, 0, None);
                self.examines(fleet)
            }
        }
    }

    /// Keys that do something about a task or a session, on the first page and on theirs.
    fn acts(&mut self, key: KeyEvent, fleet: &Fleet) -> Option<TopAct> {
        let KeyCode::Char(letter) = key.code else {
            return None;
        };
        match letter {
            'p' | 'l' | 'd' => self.acts_on_session(letter, fleet),
            _ => self.acts_on_task(letter, fleet),
        }
    }

    fn acts_on_session(&mut self, letter: char, fleet: &Fleet) -> Option<TopAct> {
        let Some(row) = self.session(fleet) else {
            "that needs a session: choose one".clone_into(&mut self.message);
            return None;
        };
        let name = row.name.as_str();
        match letter {
            'p' => {
                let word = if row.paused { "resume" } else { "pause" };
                Some(TopAct::Run(OwnCommand::new(&[word, "--", name])))
            }
            'd' => {
                let command = OwnCommand::new(&["doctor", "--", name]);
                Some(TopAct::Read(format!("what {name} shows"), command))
            }
            _ => {
                self.mode = Mode::Write(Purpose::Label(name.to_owned()), TextField::default());
                None
            }
        }
    }

    fn acts_on_task(&mut self, letter: char, fleet: &Fleet) -> Option<TopAct> {
        if !matches!(
            letter,
            'a' | 'c' | 'e' | 'g' | 'o' | 'r' | 'R' | 't' | 'x' | 'P' | '+' | '-' | '='
        ) {
            return None;
        }
        let Some(task) = self.task(fleet) else {
            "that needs a task: choose one".clone_into(&mut self.message);
            return None;
        };
        let (id, number) = (task.id, task.id.to_string());
        let is_open = !task.status.is_settled();
        let runs = matches!(
            task.status,
            Status::InProgress | Status::Assigned | Status::WaitingInput
        );
        let read = |what: &str, words: &[&str]| {
            let title = format!("{what} of task {id}");
            Some(TopAct::Read(title, OwnCommand::new(words)))
        };
        let mut refuse = |why: &str| {
            self.message = format!("task {id} {why}");
            None
        };
        match letter {
            'a' => Some(TopAct::Leave(OwnCommand::new(&["attach", &number]))),
            'x' => read("the reasons", &["explain", &number]),
            't' => read("the history", &["history", &number]),
            'o' => read("the output", &["output", &number]),
            'c' if is_open => {
                let what = match runs {
                    true => format!("end task {id}, which runs"),
                    false => format!("cancel task {id}"),
                };
                self.mode = Mode::Confirm(what, OwnCommand::new(&["cancel", &number]));
                None
            }
            'c' => refuse("has ended: R tries it again"),
            'R' if !is_open => Some(TopAct::Run(OwnCommand::new(&["retry", &number]))),
            'R' => refuse("has not ended"),
            'r' if task.status == Status::WaitingInput => {
                self.mode = Mode::Write(Purpose::Reply(id), TextField::default());
                None
            }
            'r' => refuse("asks nothing"),
            _ if task.status != Status::Pending => refuse("does not wait for a session"),
            'g' => Some(TopAct::Choose(id)),
            'e' if task.content.len() > LONGEST => refuse("is too long to be edited here"),
            'e' => {
                self.mode = Mode::Write(Purpose::Content(id), TextField::of(&task.content));
                None
            }
            'P' => {
                let now = TextField::of(&task.priority.to_string());
                self.mode = Mode::Write(Purpose::Priority(id), now);
                None
            }
            '+' | '=' | '-' => {
                let step = if letter == '-' { -1 } else { 1 };
                let priority = task.priority.saturating_add(step).to_string();
                let flag = format!("--priority={priority}");
                Some(TopAct::Run(OwnCommand::new(&["edit", &number, &flag])))
            }
            _ => None,
        }
    }

    /// The sessions to which a task could be given are known.
    pub(super) fn offers(&mut self, task: TaskId, choices: Vec<Choice>) {
        if choices.is_empty() {
            "there is no session to give it to".clone_into(&mut self.message);
            return;
        }
        if self.is_free() {
            self.mode = Mode::Choose(task, choices, 0);
        }
    }

    /// A place on the screen was clicked: what is there is chosen, and opened if it was chosen already.
    pub(super) fn click(&mut self, column: u16, row: u16, fleet: &Fleet) -> Option<TopAct> {
        if !matches!(self.mode, Mode::Browse | Mode::Filter) {
            return None;
        }
        let hit =
            self.drawn.iter().rev().find(|(_, first, (from, to), _)| {
                row + 1 >= *first && (*from..*to).contains(&column)
            });
        let (section, first, _, offset) = *hit?;
        let lines = self.lines(section, fleet);
        self.section = section;
        if row < first {
            return None;
        }
        let index = offset + usize::from(row - first);
        let was = self.chosen(section, &lines).0;
        if index >= lines.len() {
            return None;
        }
        self.choose(section, index, fleet);
        match was == index {
            true => self.opens(fleet),
            false => None,
        }
    }
}

fn task_has(task: &Task, wanted: &str) -> bool {
    let texts = [
        Some(task.content.as_str()),
        task.session.as_deref(),
        task.wait_reason.as_deref(),
        task.error.as_deref(),
        task.asks.as_deref(),
        Some(task.status.name()),
    ];
    let labels = task.metadata.labels.iter();
    wanted.is_empty()
        || task.id.to_string() == wanted
        || texts
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(wanted))
        || labels
            .map(|(name, value)| format!("{name}={value}"))
            .any(|label| label.to_lowercase().contains(wanted))
}

fn session_has(row: &SessionRow, wanted: &str) -> bool {
    let texts = [
        Some(row.name.as_str()),
        Some(row.provider.as_str()),
        Some(row.activity.name()),
        row.current_dir.as_deref(),
        row.git_branch.as_deref(),
        row.reason.as_deref(),
    ];
    wanted.is_empty()
        || texts
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(wanted))
        || row
            .labels
            .iter()
            .any(|(name, value)| format!("{name}={value}").to_lowercase().contains(wanted))
}
