//! The flags of `send` and `edit`, from the description of what can be asked of a task.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, FromArgMatches};
use serde_json::Value;

use crate::options::{self, Takes, TaskOption, Wishes};

/// What is asked of a task on the command line.
#[derive(Debug, Default)]
pub(super) struct TaskFlags(pub(super) Wishes);

impl TaskFlags {
    /// The group of all of them.
    pub(super) const GROUP: &str = "Options";
}

impl clap::Args for TaskFlags {
    fn augment_args(command: Command) -> Command {
        let flags: Vec<Arg> = options::all().flat_map(flags).collect();
        let ids: Vec<_> = flags.iter().map(|flag| flag.get_id().clone()).collect();
        let group = ArgGroup::new(Self::GROUP).multiple(true).args(ids);
        command.args(flags).group(group)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TaskFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut wishes = Wishes::default();
        for option in options::all() {
            let Some(value) = given(option, matches) else {
                continue;
            };
            wishes.say(option.name, value).map_err(|error| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"))
            })?;
        }
        Ok(Self(wishes))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the value that an option was given.
fn given(option: &TaskOption, matches: &ArgMatches) -> Option<Value> {
    match option.takes {
        Takes::Flag(_) => matches.get_flag(option.name).then_some(Value::Bool(true)),
        Takes::YesOrNo(_) => {
            let yes = matches.get_flag(option.name);
            (yes || matches.get_flag(&denial(option))).then_some(Value::Bool(yes))
        }
        _ if !matches.contains_id(option.name) => None,
        _ => {
            let words = matches.get_many::<Value>(option.name);
            Some(option.takes.value(words.into_iter().flatten().cloned()))
        }
    }
}

/// Returns the name of the flag that says no.
fn denial(option: &TaskOption) -> String {
    format!("no-{}", option.name)
}

/// Returns the flags of an option: one, or one for yes and one for no.
fn flags(option: &'static TaskOption) -> Vec<Arg> {
    let mut flag = Arg::new(option.name)
        .long(option.name)
        .visible_aliases(option.aliases)
        .help(option.help)
        .help_heading(option.topic.heading());
    if let Some(short) = option.short {
        flag = flag.short(short);
    }
    match option.takes {
        Takes::Flag(_) => vec![flag.action(ArgAction::SetTrue)],
        Takes::YesOrNo(no) => {
            let no = Arg::new(denial(option))
                .long(denial(option))
                .help(no)
                .help_heading(option.topic.heading())
                .action(ArgAction::SetTrue)
                .overrides_with(option.name);
            let yes = flag.action(ArgAction::SetTrue);
            vec![yes.overrides_with(denial(option)), no]
        }
        takes => {
            flag = flag
                .value_name(takes.value_name().unwrap_or_default())
                .value_parser(WordParser(option))
                .allow_negative_numbers(matches!(takes, Takes::Integer(_)));
            if takes.is_list() {
                flag = flag.action(ArgAction::Append);
            }
            if takes.splits_at_commas() {
                flag = flag.value_delimiter(',');
            }
            if matches!(takes, Takes::MaybeText(..)) {
                flag = flag.num_args(0..=1).require_equals(true);
            }
            vec![flag]
        }
    }
}

/// Reads a word as an option does.
#[derive(Clone)]
struct WordParser(&'static TaskOption);

impl WordParser {
    fn words(&self) -> Option<Vec<PossibleValue>> {
        let Takes::Choice(words, _) = self.0.takes else {
            return None;
        };
        let words = words.iter();
        let values = words.map(|(word, help)| PossibleValue::new(*word).help(*help));
        Some(values.collect())
    }
}

impl TypedValueParser for WordParser {
    type Value = Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        word: &OsStr,
    ) -> Result<Value, clap::Error> {
        if let Some(words) = self.words() {
            let word = PossibleValuesParser::new(words).parse_ref(command, arg, word)?;
            return Ok(word.into());
        }
        let read = match word.to_str() {
            Some(text) => self.0.takes.word(text),
            None => Err("it is not UTF-8".to_owned()),
        };
        read.map_err(|why| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let hint = match self.0.takes {
                Takes::Pairs(..) => format!(", such as {}", self.0.example),
                _ => String::new(),
            };
            let word = word.display();
            let what = format!("invalid value '{word}' for '{flag}': {why}{hint}\n");
            clap::Error::raw(ErrorKind::ValueValidation, what).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words()?.into_iter()))
    }
}
