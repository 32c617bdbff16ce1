//! The screens of `top`.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Margin, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table};

use super::acts::Choice;
use super::fields::{TaskForm, TextField};
use super::fleet::{Fleet, age};
use super::page::{self, shortened_path};
use super::plain;
use super::state::{Mode, Subject, TopSection, TopState};
use crate::cli::ui::clean;
use crate::model::session::Activity;
use crate::model::task::{Status, Task};
use crate::store::SessionRow;

/// From this width on, sessions and queue stand beside each other.
const WIDE: u16 = 150;

/// How it is drawn.
#[derive(Debug, Clone)]
pub(super) struct TopLook {
    /// Whether colours may be used.
    pub(super) colors: bool,
    /// The person's home, for `~`.
    pub(super) home: Option<String>,
}

impl TopLook {
    /// Returns a style with this colour, if there are any.
    pub(super) fn color(&self, color: Color) -> Style {
        match self.colors {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    /// Returns the style of what matters less.
    pub(super) fn dim(&self) -> Style {
        match self.colors {
            true => Style::new().fg(Color::DarkGray),
            false => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub(super) fn status(&self, status: Status) -> Style {
        self.color(match status {
            Status::Completed => Color::Green,
            Status::Failed => Color::Red,
            Status::Uncertain => Color::Magenta,
            Status::WaitingInput => Color::LightYellow,
            Status::InProgress | Status::Assigned => Color::Cyan,
            Status::Pending => Color::Yellow,
            Status::Cancelled => Color::DarkGray,
        })
    }

    pub(super) fn activity(&self, activity: Activity) -> Style {
        self.color(match activity {
            Activity::Idle => Color::Green,
            Activity::Busy => Color::Cyan,
            Activity::Attended => Color::Yellow,
            Activity::WaitingInput => Color::LightYellow,
            Activity::Unknown => Color::Magenta,
            Activity::Gone => Color::DarkGray,
        })
    }
}

/// Draws everything.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &mut TopState,
    fleet: &Fleet,
    now: Timestamp,
    look: &TopLook,
) {
    let [head, body, message, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let summary = match fleet.daemon {
        Some(_) => Line::raw(plain::summary(fleet)),
        None => Line::styled(plain::summary(fleet), look.color(Color::Red)),
    };
    frame.render_widget(summary.style(Modifier::BOLD), head);
    state.height = usize::from(body.height);
    state.drawn.clear();
    let page = match &state.mode {
        Mode::Task(facts, top) => Some((page::of_task(facts, now, body.width, look), *top)),
        Mode::Session(identity, top, seen) => {
            let lines = match fleet.session(identity) {
                Some(row) => page::of_session(row, fleet, (now, seen.as_deref()), body.width, look),
                None => vec![Line::raw("the session has ended")],
            };
            Some((lines, *top))
        }
        Mode::Text(title, lines, top) => Some((page::of_text(title, lines, body.width), *top)),
        Mode::Help => Some((page::help(look), 0)),
        _ => None,
    };
    match page {
        Some((lines, top)) => {
            let last = lines.len().saturating_sub(state.height);
            let top = top.min(last);
            if let Mode::Task(_, at) | Mode::Session(_, at, _) | Mode::Text(_, _, at) =
                &mut state.mode
            {
                *at = top;
            }
            let shown: Vec<Line<'_>> = lines.into_iter().skip(top).take(state.height).collect();
            frame.render_widget(Paragraph::new(shown), body);
        }
        None => {
            sections(frame, body, state, fleet, now, look);
            in_front(frame, body, state, look);
        }
    }
    frame.render_widget(message_line(state, look), message);
    frame.render_widget(Line::styled(keys_of(state), look.dim()), keys);
}

/// Draws the sections of the first page.
fn sections(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &mut TopState,
    fleet: &Fleet,
    now: Timestamp,
    look: &TopLook,
) {
    let columns: Vec<(Rect, &[TopSection])> = if area.width >= WIDE {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
            .spacing(2)
            .areas(area);
        vec![
            (left, &TopSection::ALL[..2]),
            (right, &TopSection::ALL[2..]),
        ]
    } else {
        vec![(area, &TopSection::ALL[..])]
    };
    for (area, sections) in columns {
        // What waits for nobody takes no room.
        let sections: Vec<(TopSection, Vec<Subject>)> = sections
            .iter()
            .map(|&section| (section, state.lines(section, fleet)))
            .filter(|(section, lines)| *section != TopSection::Asking || !lines.is_empty())
            .collect();
        // With its title, and a free row after it if there is room.
        let wanted: Vec<usize> = sections
            .iter()
            .map(|(_, lines)| lines.len().max(1) + 2)
            .collect();
        let favoured = sections
            .iter()
            .position(|(section, _)| *section == state.section);
        let heights = shares(&wanted, usize::from(area.height), favoured);
        let mut y = area.y;
        for ((section, lines), height) in sections.into_iter().zip(heights) {
            let height = u16::try_from(height).unwrap_or(area.height);
            let place = Rect { y, height, ..area };
            y += height;
            if height > 1 {
                list(frame, place, state, section, &lines, (fleet, now, look));
            }
        }
    }
}

/// Returns how many rows each of some lists gets that want so many: an equal part at least, and what is
/// left goes to the favoured one first.
fn shares(wanted: &[usize], height: usize, favoured: Option<usize>) -> Vec<usize> {
    let part = height / wanted.len().max(1);
    let mut shares: Vec<usize> = wanted.iter().map(|&wanted| wanted.min(part)).collect();
    let mut left = height.saturating_sub(shares.iter().sum());
    for index in favoured.into_iter().chain(0..wanted.len()) {
        let more = (wanted[index] - shares[index]).min(left);
        shares[index] += more;
        left -= more;
    }
    shares
}

/// Draws a section: its title with the names of its columns, and as many lines as there is room for.
fn list(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &mut TopState,
    section: TopSection,
    lines: &[Subject],
    (fleet, now, look): (&Fleet, Timestamp, &TopLook),
) {
    let index = state.settle(section, lines);
    let room = usize::from(area.height.saturating_sub(1));
    // The chosen line stays in the middle, as far as there are lines around it.
    let last = lines.len().saturating_sub(room);
    let offset = index.saturating_sub(room / 2).min(last);
    state
        .drawn
        .push((section, area.y + 1, (area.x, area.right()), offset));
    let has_focus = state.section == section;
    let columns = columns(section, area.width);
    // Of a long queue only the head is read.
    let more = section == TopSection::Queue && fleet.queue_goes_on();
    let more = if more { "+" } else { "" };
    let title = format!("{} {}{more}", section.title(), lines.len());
    let order = state.order.name();
    let header = columns
        .iter()
        .enumerate()
        .map(|(place, column)| match place {
            0 => Cell::from(Line::styled(
                title.clone(),
                match has_focus {
                    true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
                    false => Style::new().add_modifier(Modifier::BOLD),
                },
            )),
            1 if !order.is_empty() && has_focus => Cell::from(Line::styled(order, look.dim())),
            _ => Cell::from(Line::styled(column.name(), look.dim())),
        });
    let header = Row::new(header.collect::<Vec<_>>());
    let shown = lines.iter().enumerate().skip(offset).take(room);
    let rows = shown.filter_map(|(place, subject)| {
        let cells: Vec<Cell<'_>> = match subject {
            Subject::Task(id) => {
                let task = fleet.task(*id)?;
                columns
                    .iter()
                    .map(|column| column.of_task(task, fleet, now, look))
                    .collect()
            }
            Subject::Session(identity) => {
                let row = fleet.session(identity)?;
                columns
                    .iter()
                    .map(|column| column.of_session(row, now, area.width, look))
                    .collect()
            }
        };
        let style = match has_focus && place == index {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        Some(Row::new(cells).style(style))
    });
    let mut rows: Vec<Row<'_>> = rows.collect();
    if lines.is_empty() {
        let nothing = match state.filter.text().is_empty() {
            true => "nothing",
            false => "none",
        };
        rows.push(Row::new([Cell::from(Line::styled(nothing, look.dim()))]));
    }
    let widths = columns
        .iter()
        .map(|column| column.width(section, area.width));
    let table = Table::new(rows, widths.collect::<Vec<_>>())
        .header(header)
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// A column of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TopColumn {
    Id,
    Name,
    Kind,
    Priority,
    State,
    Age,
    Exit,
    Directory,
    Branch,
    Session,
    Task,
    Asks,
    Why,
    Said,
}

/// Returns the columns of a section for which there is room, the first of which has the title.
fn columns(section: TopSection, width: u16) -> Vec<TopColumn> {
    use TopColumn::{
        Age, Asks, Branch, Directory, Exit, Id, Kind, Name, Priority, Said, Session, State, Task,
        Why,
    };
    let is_narrow = width < 90;
    match (section, is_narrow) {
        (TopSection::Asking, true) => vec![Id, Age, Session, Asks],
        (TopSection::Asking, false) => vec![Id, Age, Session, Task, Asks],
        (TopSection::Sessions, true) => vec![Name, Kind, State, Age, Directory, Why],
        (TopSection::Sessions, false) => vec![Name, Kind, State, Age, Directory, Branch, Why],
        (TopSection::Queue, true) => vec![Id, Priority, State, Age, Task, Why],
        (TopSection::Queue, false) => vec![Id, Priority, State, Age, Session, Task, Why],
        (TopSection::Ended, true) => vec![Id, State, Exit, Age, Task, Said],
        (TopSection::Ended, false) => vec![Id, State, Exit, Age, Session, Task, Said],
    }
}

impl TopColumn {
    fn name(self) -> &'static str {
        match self {
            Self::Id | Self::Name => "",
            Self::Kind => "KIND",
            Self::Priority => "PRI",
            Self::State => "STATE",
            Self::Age => "FOR",
            Self::Exit => "EXIT",
            Self::Directory => "DIRECTORY",
            Self::Branch => "BRANCH",
            Self::Session => "SESSION",
            Self::Task => "TASK",
            Self::Asks => "ASKS",
            Self::Why => "WHY",
            Self::Said => "OUTPUT",
        }
    }

    fn width(self, section: TopSection, width: u16) -> Constraint {
        match self {
            Self::Id => Constraint::Length(match section {
                TopSection::Asking => 16,
                _ => 10,
            }),
            Self::Name => Constraint::Length(14),
            Self::Kind => Constraint::Length(8),
            Self::Priority | Self::Exit => Constraint::Length(4),
            Self::State => Constraint::Length(13),
            Self::Age => Constraint::Length(7),
            Self::Branch | Self::Session => Constraint::Length(12),
            Self::Directory => Constraint::Length(directory_width(width)),
            Self::Task | Self::Asks | Self::Why | Self::Said => Constraint::Fill(3),
        }
    }

    fn of_task<'c>(self, task: &Task, fleet: &Fleet, now: Timestamp, look: &TopLook) -> Cell<'c> {
        let plain = |text: &str| Cell::from(clean(text));
        match self {
            Self::Id => plain(&task.id.to_string()),
            Self::Priority => plain(&task.priority.to_string()),
            Self::State => Cell::from(Line::styled(task.status.name(), look.status(task.status))),
            Self::Age => plain(&age(since(task), now)),
            Self::Exit => plain(
                &task
                    .exit_code
                    .map_or_else(String::new, |code| code.to_string()),
            ),
            Self::Session => plain(task.session.as_deref().unwrap_or("-")),
            Self::Task => plain(&task.summary()),
            Self::Asks => plain(task.asks.as_deref().unwrap_or("something: a attaches")),
            Self::Why => match (task.status, &task.wait_reason, &task.session) {
                (Status::Pending, Some(why), _) => plain(why),
                (Status::Pending, None, _) => plain("not looked at yet"),
                (_, _, Some(session)) => plain(&format!("in {session}")),
                _ => plain(""),
            },
            Self::Said => {
                let line = fleet.ended.iter().find(|(ended, _)| ended.id == task.id);
                let line = line.map_or("", |(_, line)| line.as_str());
                match &task.error {
                    Some(error) if task.status != Status::Completed => plain(error),
                    _ => plain(line),
                }
            }
            Self::Name | Self::Kind | Self::Directory | Self::Branch => Cell::from(""),
        }
    }

    fn of_session<'c>(
        self,
        row: &SessionRow,
        now: Timestamp,
        width: u16,
        look: &TopLook,
    ) -> Cell<'c> {
        let plain = |text: &str| Cell::from(clean(text));
        match self {
            Self::Name => plain(&row.name),
            Self::Kind => plain(&row.provider),
            Self::State if row.paused => Cell::from(Line::styled("paused", look.dim())),
            Self::State => Cell::from(Line::styled(
                row.activity.name(),
                look.activity(row.activity),
            )),
            Self::Age => plain(&age(row.since, now)),
            Self::Directory => {
                let dir = row.current_dir.as_deref().unwrap_or("-");
                plain(&shortened_path(
                    dir,
                    look.home.as_deref(),
                    usize::from(directory_width(width)),
                ))
            }
            Self::Branch => plain(row.git_branch.as_deref().unwrap_or("-")),
            Self::Why => match row.current_task {
                Some(task) => plain(&format!("task {task}")),
                None => plain(row.reason()),
            },
            _ => Cell::from(""),
        }
    }
}

/// Returns how wide directories are shown: their last names tell most.
fn directory_width(width: u16) -> u16 {
    (width / 5).clamp(10, 40)
}

/// Returns since when a task has been in its state, as far as that is known.
fn since(task: &Task) -> Timestamp {
    let began = task.assigned_at.filter(|_| task.status != Status::Pending);
    task.completed_at.or(began).unwrap_or(task.created_at)
}

/// Draws what is in front of the first page.
fn in_front(frame: &mut Frame<'_>, area: Rect, state: &TopState, look: &TopLook) {
    match &state.mode {
        Mode::Choose(task, choices, index) => {
            let title = format!(" give task {task} to ");
            choose(frame, area, &title, choices, *index);
        }
        Mode::New(form) => new_task(frame, area, form, look),
        _ => {}
    }
}

/// Clears a place in the middle, and returns what is inside its frame.
fn window(frame: &mut Frame<'_>, area: Rect, title: &str, height: usize) -> Rect {
    let height = u16::try_from(height + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let width = area.width.saturating_sub(4).min(100);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Block::bordered().title(title.to_owned()), place);
    place.inner(Margin::new(2, 1))
}

fn choose(frame: &mut Frame<'_>, area: Rect, title: &str, choices: &[Choice], index: usize) {
    let place = window(frame, area, title, choices.len());
    let room = usize::from(place.height).max(1);
    let offset = index
        .saturating_sub(room / 2)
        .min(choices.len().saturating_sub(room));
    let rows = choices.iter().enumerate().skip(offset).take(room);
    let rows = rows.map(|(place, choice)| {
        let cells = [clean(&choice.session), clean(&choice.points)];
        let style = match place == index {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        Row::new(cells).style(style)
    });
    let widths = [Constraint::Length(20), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), place);
}

fn new_task(frame: &mut Frame<'_>, area: Rect, form: &TaskForm, look: &TopLook) {
    let place = window(frame, area, " a new task ", form.fields.len() + 1);
    let kind = match form.is_command {
        true => "a command for a shell",
        false => "a prompt for an agent",
    };
    let chosen = |at: usize, text: String| match form.at == at {
        true => Span::styled(text, Style::new().add_modifier(Modifier::REVERSED)),
        false => Span::raw(text),
    };
    let mut lines = vec![Line::from(vec![
        Span::styled("kind       ", look.dim()),
        chosen(0, kind.to_owned()),
    ])];
    let room = usize::from(place.width).saturating_sub(12);
    for (at, (field, (name, nothing))) in form.fields.iter().zip(TaskForm::NAMES).enumerate() {
        let mut spans = vec![Span::styled(format!("{name:<11}"), look.dim())];
        if form.at == at + 1 {
            spans.extend(field_spans(field, room));
        } else if field.text().is_empty() {
            spans.push(Span::styled(nothing, look.dim()));
        } else {
            spans.push(Span::raw(clean(&field.text())));
        }
        lines.push(Line::from(spans));
    }
    frame.render_widget(Paragraph::new(lines), place);
}

/// Returns a field with its cursor: the end of what is before it, and the beginning of what is after it.
fn field_spans<'s>(field: &TextField, room: usize) -> Vec<Span<'s>> {
    let (before, after) = field.halves();
    let (before, after) = (shown(before), shown(after));
    let skip = before
        .chars()
        .count()
        .saturating_sub(room.saturating_sub(2));
    let before: String = before.chars().skip(skip).collect();
    let mut rest = after.chars();
    let under = rest.next().unwrap_or(' ');
    vec![
        Span::raw(before),
        Span::styled(
            under.to_string(),
            Style::new().add_modifier(Modifier::REVERSED),
        ),
        Span::raw(rest.collect::<String>()),
    ]
}

/// Returns a text in which the end of a line is a sign.
fn shown(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(clean).collect();
    lines.join("⏎")
}

/// Returns the line above the keys: what is written or asked, or what was said.
fn message_line<'l>(state: &TopState, look: &TopLook) -> Line<'l> {
    let asks = look.color(Color::LightYellow).add_modifier(Modifier::BOLD);
    match &state.mode {
        Mode::Confirm(what, _) => Line::styled(format!("{what}? y, or any other key"), asks),
        Mode::Write(purpose, field) => {
            let mut spans = vec![Span::styled(
                format!("{}: ", clean(&purpose.prompt())),
                asks,
            )];
            spans.extend(field_spans(field, 60));
            Line::from(spans)
        }
        Mode::Filter => {
            let mut spans = vec![Span::styled("find: ", asks)];
            spans.extend(field_spans(&state.filter, 60));
            Line::from(spans)
        }
        _ if !state.message.is_empty() => Line::raw(clean(&state.message)),
        _ if state.doing.is_some() => {
            let doing = state.doing.as_deref().unwrap_or_default();
            Line::styled(format!("{} …", clean(doing)), look.dim())
        }
        _ if !state.filter.text().is_empty() => {
            let found = format!("find: {}   (Esc shows all)", clean(&state.filter.text()));
            Line::styled(found, look.dim())
        }
        _ => Line::raw(""),
    }
}

/// Returns the keys that mean something now, in eighty columns.
pub(super) fn keys_of(state: &TopState) -> &'static str {
    match &state.mode {
        Mode::Browse => match state.section {
            TopSection::Asking => {
                "Enter reply  a go there  x why  c cancel  / find  n new  ? help  q quit"
            }
            TopSection::Sessions => {
                "Enter more  p pause  d what is seen  l label  / find  n new  ? help  q quit"
            }
            TopSection::Queue => {
                "Enter more  x why  c cancel  +- priority  g give to  e edit  ? help  q quit"
            }
            TopSection::Ended => {
                "Enter more  o output  R try again  a go there  / find  n new  ? help  q quit"
            }
        },
        Mode::Filter => "Enter keep  Esc show all",
        Mode::Confirm(..) => "y yes  any other key: no",
        Mode::Write(..) => "Enter send it  Alt-Enter new line  Esc not now",
        Mode::Choose(..) => "↑↓ move  Enter give it  Esc not now",
        Mode::New(_) => "Tab next  Enter queue it  Alt-Enter new line  Esc not now",
        Mode::Task(..) => {
            "↑↓ move  x why  t history  o output  a go there  c cancel  R again  Esc back"
        }
        Mode::Session(..) => "↑↓ move  p pause  d what is seen  l label  Esc back",
        Mode::Text(..) => "↑↓ move  any other key: back",
        Mode::Help => "any key: back",
    }
}
