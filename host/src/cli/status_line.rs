//! `assigner status --format`: one line of a person's own, such as for the status line of tmux.
//!
//! ```text
//! {pending}             the number
//! {failed?{failed} ✗}   what is after the question mark, unless the number is zero
//! {{  }}                braces
//! ```

use std::collections::{BTreeMap, BTreeSet};

use similar::get_close_matches;

use super::exit::CommandFailure;
use crate::daemon::Lock;
use crate::model::session::Activity;
use crate::model::task::Status;
use crate::store::Store;

use super::Context;

/// The deepest that conditions are nested: a template is a line, not a program.
const DEEPEST: usize = 8;

/// What is known besides the numbers of tasks and sessions by state.
const FURTHER: [&str; 3] = ["open", "sessions", "daemon"];

/// The states of sessions, as fields name them: some are called like those of tasks.
const OF_SESSIONS: &str = "sessions_";

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// This text.
    Text(String),
    /// The value of a field.
    Field(String),
    /// This, unless the value of a field is zero.
    If(String, Template),
}

/// The values of fields.
type Values = BTreeMap<String, u64>;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A brace has no partner, or a field is unknown.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let template = pieces(&mut rest, 0)?;
        match rest.is_empty() {
            true => Ok(template),
            false => Err("a `}` closes nothing: `}}` stands for a brace".to_owned()),
        }
    }

    /// Returns the fields that it names.
    fn fields(&self) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(_) => {}
                Piece::Field(name) => {
                    fields.insert(name.as_str());
                }
                Piece::If(name, then) => {
                    fields.insert(name.as_str());
                    fields.extend(then.fields());
                }
            }
        }
        fields
    }

    /// Fills it in. A field without a value is zero.
    fn fill(&self, values: &Values) -> String {
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(name) => value(name).to_string(),
            Piece::If(name, _) if value(name) == 0 => String::new(),
            Piece::If(_, then) => then.fill(values),
        };
        self.0.iter().map(fill).collect()
    }
}

/// Reads until the end, or until the brace that closes a condition.
fn pieces(rest: &mut &str, depth: usize) -> Result<Template, String> {
    if depth > DEEPEST {
        return Err(format!("conditions are nested {DEEPEST} deep at most"));
    }
    let mut pieces = Vec::new();
    let mut text = String::new();
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (brace, after) = from.split_at(1);
        // At the end of a condition, `}}` closes it and the one around it.
        if after.starts_with(brace) && !(brace == "}" && depth > 0) {
            text.push_str(brace);
            *rest = &after[1..];
            continue;
        }
        if brace == "}" {
            *rest = from;
            pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
            return Ok(Template(pieces));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        let unclosed = || "a `{` is never closed: `{{` stands for a brace".to_owned();
        let end = after.find(['}', '?']).ok_or_else(unclosed)?;
        let name = known(&after[..end])?;
        let is_condition = after[end..].starts_with('?');
        *rest = &after[end + 1..];
        if is_condition {
            let then = self::pieces(rest, depth + 1)?;
            *rest = rest.strip_prefix('}').ok_or_else(unclosed)?;
            pieces.push(Piece::If(name, then));
        } else {
            pieces.push(Piece::Field(name));
        }
    }
    text.push_str(rest);
    *rest = "";
    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
    Ok(Template(pieces))
}

/// Returns the names of all fields.
fn names() -> Vec<String> {
    let of_tasks = Status::ALL.iter().map(|status| status.name().to_owned());
    let of_sessions = Activity::ALL
        .iter()
        .filter(|&&activity| activity != Activity::Gone);
    let of_sessions = of_sessions.map(|activity| format!("{OF_SESSIONS}{}", activity.name()));
    let further = FURTHER.iter().map(|&name| name.to_owned());
    of_tasks.chain(further).chain(of_sessions).collect()
}

fn known(name: &str) -> Result<String, String> {
    let names = names();
    if let Some(known) = names.iter().find(|known| *known == name) {
        return Ok(known.clone());
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let tip = match get_close_matches(name, &all, 1, 0.6).first() {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("there are {}", all.join(", ")),
    };
    Err(format!("there is no field `{name}`: {tip}"))
}

/// Fills a template in with what is the case now. Only what it names is counted.
pub(super) fn filled(
    context: &Context,
    store: &mut Store,
    template: &Template,
) -> Result<String, CommandFailure> {
    let fields = template.fields();
    let mut values = Values::new();
    let is_wanted = |status: &&Status| fields.contains(status.name());
    let open = |status: &&Status| !status.is_settled();
    let mut wanted: BTreeSet<Status> = Status::ALL.iter().filter(is_wanted).copied().collect();
    if fields.contains("open") {
        wanted.extend(Status::ALL.iter().filter(open));
    }
    for status in wanted {
        let count = store.count(status)?;
        values.insert(status.name().to_owned(), count);
        if !status.is_settled() {
            *values.entry("open".to_owned()).or_default() += count;
        }
    }
    if fields.iter().any(|field| field.starts_with("sessions")) {
        for row in store.sessions()? {
            if row.activity != Activity::Gone {
                let name = format!("{OF_SESSIONS}{}", row.activity.name());
                *values.entry(name).or_default() += 1;
                *values.entry("sessions".to_owned()).or_default() += 1;
            }
        }
    }
    if fields.contains("daemon") {
        let runs = Lock::holder(&context.config.data_dir).is_some();
        values.insert("daemon".to_owned(), u64::from(runs));
    }
    Ok(template.fill(&values))
}

/// The list for `--help`.
pub(super) fn help() -> String {
    format!(
        "Fields of --format are numbers:\n  tasks by state: {}\n  {{open}}: the tasks that may still \
         run; {{sessions}}, and {{sessions_idle}} and so on by state\n  {{daemon}}: 1 if one runs, or \
         0\n{{failed?text}} is the text unless the number is 0; {{{{ is a brace",
        Status::ALL
            .map(|status| format!("{{{}}}", status.name()))
            .join(" "),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, values: &[(&str, u64)]) -> String {
        let values = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        let template = Template::parse(template).expect("a template");
        template.fill(&values.collect())
    }

    #[test]
    fn fields_are_filled_in_and_conditions_hold() {
        let values = [("pending", 3), ("waiting_input", 2)];
        for (template, expected) in [
            ("", ""),
            ("{pending} of {open}", "3 of 0"),
            ("{waiting_input?! {waiting_input}}", "! 2"),
            ("{failed?! {failed}}", ""),
            ("{pending?{failed?both}{waiting_input?two}}.", "two."),
            ("{{{pending}}}", "{3}"),
            ("#[fg=red]{pending}", "#[fg=red]3"),
            ("ä{pending}漢", "ä3漢"),
        ] {
            assert_eq!(fill(template, &values), expected, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (template, why) in [
            ("{pending", "a `{` is never closed"),
            ("{pending?x", "a `{` is never closed"),
            ("pending}", "a `}` closes nothing"),
            (
                "{pendin}",
                "there is no field `pendin`: did you mean `pending`?",
            ),
            ("{xyz}", "there is no field `xyz`: there are pending"),
            ("{}", "there is no field ``"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        }
        let deep = "{pending?".repeat(100);
        assert!(Template::parse(&deep).is_err_and(|error| error.contains("nested")));
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_refused(text in "([{}?]|pending|[^\\x00]){0,20}") {
            if let Ok(template) = Template::parse(&text) {
                template.fill(&Values::new());
            }
        }

        #[test]
        fn what_has_no_braces_stays_as_it_is(text in "[^{}]{0,40}") {
            prop_assert_eq!(fill(&text, &[]), text);
        }
    }
}
