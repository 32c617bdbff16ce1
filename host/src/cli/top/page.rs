//! The pages of `top`: a task's, a session's, a text, and the keys.

use jiff::Timestamp;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use super::draw::TopLook;
use super::fleet::{Fleet, TaskFacts, age};
use crate::cli::show::points;
use crate::cli::ui::clean;
use crate::model::attempt::{NamedRanking, Outcome};
use crate::store::SessionRow;

/// The widest bar of points.
const BAR: usize = 20;
/// So much of the history is shown, and of the text of a task.
const RECENT: usize = 8;
const CONTENT: usize = 12;

/// The lines of a page, none of them wider than it.
struct PageText {
    width: usize,
    lines: Vec<Line<'static>>,
}

impl PageText {
    fn new(width: u16) -> Self {
        Self {
            width: usize::from(width).max(20),
            lines: Vec::new(),
        }
    }

    fn title(&mut self, text: &str) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        for line in wrapped(text, self.width) {
            self.lines.push(Line::styled(line, bold));
        }
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(Line::raw(""));
        self.title(text);
    }

    fn fact(&mut self, name: &str, value: &str, look: &TopLook) {
        for (number, line) in wrapped(value, self.width.saturating_sub(11))
            .into_iter()
            .enumerate()
        {
            let name = if number == 0 { name } else { "" };
            self.lines.push(Line::from(vec![
                Span::styled(format!("{name:<10} "), look.dim()),
                Span::raw(line),
            ]));
        }
    }

    fn text(&mut self, text: &str) {
        for line in text.split('\n') {
            self.lines
                .extend(wrapped(line, self.width).into_iter().map(Line::raw));
        }
    }
}

/// Returns the page of a task.
pub(super) fn of_task(
    facts: &TaskFacts,
    now: Timestamp,
    width: u16,
    look: &TopLook,
) -> Vec<Line<'static>> {
    let task = &facts.task;
    let mut page = PageText::new(width);
    page.title(&format!("task {}: {}", task.id, task.status.name()));
    let all: Vec<&str> = task.content.split('\n').collect();
    for line in all.iter().take(CONTENT) {
        page.text(&format!("  {}", clean(line)));
    }
    if all.len() > CONTENT {
        page.text(&format!("  … and {} more lines", all.len() - CONTENT));
    }
    page.lines.push(Line::raw(""));
    if let Some(asks) = &task.asks {
        page.fact("asks", &clean(asks), look);
    }
    if let Some(why) = &task.wait_reason {
        page.fact("waits", &clean(why), look);
    }
    if let Some(error) = &task.error {
        page.fact("error", &clean(error), look);
    }
    if let Some(session) = &task.session {
        page.fact("session", &clean(session), look);
    }
    if let Some(code) = task.exit_code {
        page.fact("exit code", &code.to_string(), look);
    }
    if let Some(response) = task.response {
        page.fact("response", response.name(), look);
    }
    page.fact(
        "queued",
        &format!("{} ago", age(task.created_at, now)),
        look,
    );
    if task.priority != 0 {
        page.fact("priority", &task.priority.to_string(), look);
    }
    if let Some(dir) = &task.metadata.working_dir {
        page.fact(
            "directory",
            &clean(&with_home(dir, look.home.as_deref())),
            look,
        );
    }
    if let Some(branch) = &task.metadata.git_branch {
        page.fact("branch", &clean(branch), look);
    }
    for (name, value) in &task.metadata.labels {
        page.fact("label", &clean(&format!("{name}={value}")), look);
    }
    for parent in &facts.parents {
        let after = format!("task {}, which is {}", parent.id, parent.status.name());
        page.fact("after", &after, look);
    }
    for attempt in facts.attempts.iter().rev() {
        let state = attempt.outcome.map_or(attempt.phase.name(), Outcome::name);
        page.heading(&format!(
            "attempt {} in {}: {state}, by policy {}",
            attempt.number,
            clean(&attempt.session),
            clean(&attempt.policy.name)
        ));
        let most = attempt.rankings.iter().map(|ranking| ranking.points).max();
        for ranking in &attempt.rankings {
            page.lines
                .push(bar(ranking, most.unwrap_or(0), page.width, look));
        }
        for out in &attempt.ruled_out {
            page.fact(&clean(&out.session), &clean(&out.reason), look);
        }
    }
    if !facts.output.is_empty() {
        page.heading(if facts.is_cut {
            "the end of its output"
        } else {
            "output"
        });
        page.text(&facts.output);
    }
    page.heading("history");
    let skip = facts.history.len().saturating_sub(RECENT);
    for row in facts.history.iter().skip(skip) {
        let place = row.session.as_deref().map(|name| format!(" in {name}"));
        let place = place.unwrap_or_default();
        let said = clean(&format!("{}{place}: {}", row.action, row.details));
        page.fact(&age(row.at, now), &said, look);
    }
    page.lines
}

/// Returns the points of a session as a bar, with what they consist of.
fn bar(ranking: &NamedRanking, most: i32, width: usize, look: &TopLook) -> Line<'static> {
    let filled = match most {
        1.. => {
            usize::try_from(ranking.points.max(0)).unwrap_or(0) * BAR
                / usize::try_from(most).unwrap_or(1)
        }
        _ => 0,
    };
    let name = cut(&clean(&ranking.session), 16);
    let pad = 16usize.saturating_sub(columns(&name));
    let bar = format!(
        "{}{}",
        "█".repeat(filled),
        "·".repeat(BAR - filled.min(BAR))
    );
    let rest = points(ranking.points, &ranking.terms);
    let room = width.saturating_sub(16 + BAR + 3);
    Line::from(vec![
        Span::raw(format!("{name}{} ", " ".repeat(pad))),
        Span::styled(bar, look.color(ratatui::style::Color::Green)),
        Span::raw(format!(" {}", cut(rest.trim_start(), room))),
    ])
}

/// Returns the page of a session.
pub(super) fn of_session(
    row: &SessionRow,
    fleet: &Fleet,
    (now, seen): (Timestamp, Option<&[String]>),
    width: u16,
    look: &TopLook,
) -> Vec<Line<'static>> {
    let mut page = PageText::new(width);
    let names: Vec<String> = row.who().labels().map(clean).collect();
    page.title(&format!(
        "session {}: {}",
        names.join(", "),
        row.activity.name()
    ));
    page.lines.push(Line::raw(""));
    page.fact("why", &clean(row.reason()), look);
    page.fact("for", &age(row.since, now), look);
    page.fact("kind", &clean(&row.provider), look);
    let dir = row.current_dir.as_deref().unwrap_or("not known");
    page.fact(
        "directory",
        &clean(&with_home(dir, look.home.as_deref())),
        look,
    );
    page.fact(
        "branch",
        &clean(row.git_branch.as_deref().unwrap_or("none")),
        look,
    );
    page.fact("takes", row.admission.name(), look);
    if row.paused {
        page.fact("paused", "by a person: p resumes", look);
    }
    for (name, value) in &row.labels {
        page.fact("label", &clean(&format!("{name}={value}")), look);
    }
    for (name, value) in &row.env {
        page.fact("variable", &clean(&format!("{name}={value}")), look);
    }
    let done = format!("{} completed, {} failed", row.completed, row.failed);
    page.fact("tasks", &done, look);
    let ended = fleet.ended.iter().map(|(task, _)| task);
    let all = fleet.asking.iter().chain(&fleet.queue).chain(ended);
    let mut own: Vec<_> = all
        .filter(|task| task.session.as_deref() == Some(&row.name))
        .collect();
    own.sort_by_key(|task| std::cmp::Reverse(task.id));
    own.dedup_by_key(|task| task.id);
    if !own.is_empty() {
        page.heading("its newest tasks");
    }
    for task in own.iter().take(RECENT) {
        let said = format!("{:<13} {}", task.status.name(), clean(&task.summary()));
        page.fact(&task.id.to_string(), &said, look);
    }
    page.heading("what is seen of it");
    for line in seen.unwrap_or(&["…".to_owned()]) {
        page.text(line);
    }
    page.lines
}

/// Returns a text with its title.
pub(super) fn of_text(title: &str, lines: &[String], width: u16) -> Vec<Line<'static>> {
    let mut page = PageText::new(width);
    page.title(&clean(title));
    page.lines.push(Line::raw(""));
    for line in lines {
        page.text(line);
    }
    page.lines
}

/// Returns the keys, and what they do.
pub(super) fn help(look: &TopLook) -> Vec<Line<'static>> {
    let keys = [
        ("↑ ↓, j k", "move; Tab, or 1 2 3 4: another list"),
        ("Enter", "more of it; of what waits for you: reply"),
        ("/", "show only what has these words; Esc shows all again"),
        (
            "s",
            "another order: as it matters, by session, the longest first",
        ),
        ("n", "a new task"),
        ("r", "reply to what an agent asks"),
        (
            "a",
            "go to the pane of a task; what brings you back is tmux's own",
        ),
        ("x", "why a task waits, and what would let it run"),
        ("o  t", "the output of a task; its history"),
        ("c", "cancel a task, or end it"),
        ("R", "try a task again that has ended"),
        ("g", "give a waiting task to a session"),
        (
            "+ - P",
            "the priority of a waiting task: one more, one less, or a number",
        ),
        ("e", "another text for a waiting task"),
        ("p", "pause a session, or resume it"),
        ("l", "label a session"),
        ("d", "what is seen of a session, and how it is judged"),
        ("q", "quit"),
    ];
    keys.iter()
        .map(|(key, what)| {
            let bold = Style::new().add_modifier(Modifier::BOLD);
            Line::from(vec![
                Span::styled(format!("  {key:<9} "), bold),
                Span::styled((*what).to_owned(), look.color(ratatui::style::Color::Reset)),
            ])
        })
        .collect()
}

fn columns(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(0)).sum()
}

/// Returns as much of a text as fits.
fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |char: &char| {
        let wide = char.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let head: String = text.chars().take_while(fits).collect();
    format!("{head}…")
}

/// Breaks a line where it is too wide, between words if it has any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = text.replace('\t', "    ");
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for char in text.chars() {
        let wide = char.width().unwrap_or(0);
        if used + wide > width {
            // A word that is longer than half of the line is broken.
            let at = line
                .rfind(' ')
                .filter(|&at| columns(&line[..at]) * 2 > width);
            let rest = at.map_or(String::new(), |at| {
                line.split_off(at).trim_start().to_owned()
            });
            used = columns(&rest);
            lines.push(std::mem::replace(&mut line, rest));
        }
        line.push(char);
        used += wide;
    }
    lines.push(line);
    lines
}

/// Returns a path with `~` for the person's home.
fn with_home(path: &str, home: Option<&str>) -> String {
    let rest = home
        .filter(|home| home.len() > 1)
        .and_then(|home| path.strip_prefix(home));
    match rest {
        Some("") => "~".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

/// Returns a path that fits: its last names, which tell most.
pub(super) fn shortened_path(path: &str, home: Option<&str>, width: usize) -> String {
    let path = with_home(path, home);
    let mut rest = path.as_str();
    // Once something is left out, a sign stands for it.
    while columns(rest) + usize::from(rest.len() < path.len()) > width {
        let Some((_, shorter)) = rest[1..]
            .split_once('/')
            .filter(|(_, rest)| !rest.is_empty())
        else {
            break;
        };
        rest = &rest[rest.len() - shorter.len() - 1..];
    }
    match rest.len() == path.len() {
        true => path,
        false => format!("…{rest}"),
    }
}
