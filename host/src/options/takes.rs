//! The kinds of values that options take: how a word of the command line becomes one, which JSON is
//! one, and how it is written into a task.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Map, Value};

use super::{OptionError, TaskDraft};
use crate::model::duration::{DELAY, TIMEOUT};
use crate::model::ids::TaskId;
use crate::model::task::{NewTask, Parent};

/// Writes a value into a task.
type Set<T> = fn(&mut TaskDraft<'_>, T) -> Result<(), OptionError>;

/// Checks a name and a value.
type CheckPair = fn(&str, &str) -> Result<(), String>;

/// Which values an option takes, and what they change in a task.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// None: it is said, or it is not.
    Flag(fn(&mut NewTask)),
    /// Yes or no, with the help of the flag that says no. What it changes is decided before all
    /// else.
    YesOrNo(&'static str),
    /// A text with this name that passes the check, or none in particular.
    MaybeText(
        &'static str,
        fn(&str) -> Result<(), String>,
        fn(&mut NewTask, Option<&str>),
    ),
    /// A text with this name.
    Text(&'static str, Set<String>),
    /// One of these words, each with its help.
    Choice(
        &'static [(&'static str, &'static str)],
        fn(&mut NewTask, &str),
    ),
    /// A whole number.
    Integer(fn(&mut NewTask, i32)),
    /// A whole number, at least 0.
    Count(fn(&mut NewTask, u32)),
    /// A time limit, in whole seconds; a bare number means minutes.
    Seconds(fn(&mut NewTask, u64)),
    /// A time from now; a bare number means minutes.
    Delay(fn(&mut NewTask, Timestamp)),
    /// A point in time.
    Moment(fn(&mut NewTask, Timestamp)),
    /// Texts with this name, one each time that it is said.
    Texts(&'static str, Set<Vec<String>>),
    /// Names with commas between them.
    Names(Set<Vec<String>>),
    /// Names with values that pass the check.
    Pairs(CheckPair, Set<BTreeMap<String, String>>),
    /// Tasks: their numbers or, in a batch, the names of earlier lines.
    Tasks(fn(&mut NewTask, Vec<Parent>)),
}

impl Takes {
    /// Returns the name of its value for `--help`; `None` if it takes none.
    pub fn value_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Flag(_) | Self::YesOrNo(_) => return None,
            Self::MaybeText(name, ..) | Self::Text(name, _) | Self::Texts(name, _) => name,
            Self::Choice(..) => "WHAT",
            Self::Integer(_) | Self::Count(_) => "N",
            Self::Seconds(_) | Self::Delay(_) => "DURATION",
            Self::Moment(_) => "TIME",
            Self::Names(_) => "NAME,...",
            Self::Pairs(..) => "NAME=VALUE",
            Self::Tasks(_) => "ID,...",
        })
    }

    /// Whether it may be said more than once.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Texts(..) | Self::Names(_) | Self::Pairs(..) | Self::Tasks(_)
        )
    }

    /// Whether one word may be several values, with commas between them.
    pub fn splits_at_commas(&self) -> bool {
        matches!(self, Self::Names(_) | Self::Tasks(_))
    }

    /// Reads a word of the command line, as a value or as an item of one.
    ///
    /// # Errors
    /// Why it is not one, without naming it or the option.
    pub fn word(&self, word: &str) -> Result<Value, String> {
        let value = match self {
            Self::Integer(_) => whole(word, i32::MIN.into()..=i32::MAX.into())?,
            Self::Count(_) => whole(word, 0..=u32::MAX.into())?,
            Self::Tasks(_) => match word.parse::<TaskId>() {
                Ok(id) => id.0.into(),
                Err(error) => return Err(error.to_string()),
            },
            Self::Pairs(check, _) => {
                let (name, value) = pair(word, *check)?;
                Value::Object(Map::from_iter([(name, value.into())]))
            }
            _ => Value::from(word),
        };
        match self {
            // A list is checked item by item.
            Self::Texts(..) | Self::Names(_) | Self::Tasks(_) => {}
            _ => self.check(&value)?,
        }
        Ok(value)
    }

    /// Makes a value of the words that were read.
    pub fn value(&self, words: impl Iterator<Item = Value>) -> Value {
        match self {
            Self::Pairs(..) => {
                let mut pairs = Map::new();
                for word in words {
                    if let Value::Object(pair) = word {
                        pairs.extend(pair);
                    }
                }
                Value::Object(pairs)
            }
            _ if self.is_list() => words.collect(),
            _ => words.last().unwrap_or(Value::Bool(true)),
        }
    }

    /// Checks a value, as it stands in a batch line.
    ///
    /// # Errors
    /// Why it is not one, without naming it or the option.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match self {
            Self::Flag(_) | Self::YesOrNo(_) => match value {
                Value::Bool(_) => Ok(()),
                _ => Err("it is true or false".to_owned()),
            },
            Self::MaybeText(_, check, _) => match value {
                Value::Bool(_) => Ok(()),
                _ => check(text(value)?),
            },
            Self::Text(..) => text(value).map(drop),
            Self::Choice(words, _) => {
                let text = text(value)?;
                if words.iter().any(|(word, _)| *word == text) {
                    return Ok(());
                }
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(format!("it may be {}", words.join(" or ")))
            }
            Self::Integer(_) => integer::<i32>(value).map(drop),
            Self::Count(_) => integer::<u32>(value).map(drop),
            Self::Seconds(_) => TIMEOUT.read(&duration(value)?).map(drop),
            Self::Delay(_) => delay(&duration(value)?).map(drop),
            Self::Moment(_) => at(text(value)?).map(drop),
            Self::Texts(..) | Self::Names(_) => texts(value).map(drop),
            Self::Pairs(check, _) => {
                let pairs = pairs(value)?;
                pairs.iter().try_for_each(|(name, value)| {
                    check(name, value).map_err(|why| format!("`{name}`: {why}"))
                })
            }
            Self::Tasks(_) => references(value).map(drop),
        }
    }

    /// Writes a value that passes [`Self::check`] into a task.
    pub(super) fn set(&self, draft: &mut TaskDraft<'_>, value: &Value) -> Result<(), OptionError> {
        let wrong = OptionError::Wrong;
        let task = &mut *draft.task;
        match self {
            Self::Flag(set) => set(task),
            Self::YesOrNo(_) => {}
            Self::MaybeText(_, _, set) => set(task, value.as_str()),
            Self::Text(_, set) => set(draft, text(value).map_err(wrong)?.to_owned())?,
            Self::Choice(_, set) => set(task, text(value).map_err(wrong)?),
            Self::Integer(set) => set(task, integer(value).map_err(wrong)?),
            Self::Count(set) => set(task, integer(value).map_err(wrong)?),
            Self::Seconds(set) => {
                let limit = TIMEOUT.read(&duration(value).map_err(wrong)?);
                set(task, limit.map_err(wrong)?.as_secs());
            }
            Self::Delay(set) => {
                let due = delay(&duration(value).map_err(wrong)?);
                set(task, due.map_err(wrong)?);
            }
            Self::Moment(set) => set(task, at(text(value).map_err(wrong)?).map_err(wrong)?),
            Self::Texts(_, set) | Self::Names(set) => {
                set(draft, texts(value).map_err(wrong)?)?;
            }
            Self::Pairs(_, set) => set(draft, pairs(value).map_err(wrong)?)?,
            Self::Tasks(set) => {
                let parents = references(value).map_err(wrong)?.into_iter();
                let parents = parents.map(|reference| match reference {
                    Reference::Task(id) => Ok(Parent::Task(id)),
                    Reference::Line(name) => draft.sender.line(&name).map(Parent::Earlier),
                });
                set(draft.task, parents.collect::<Result<_, _>>()?);
            }
        }
        Ok(())
    }
}

/// A task to wait for.
enum Reference {
    Task(TaskId),
    /// An earlier line of the batch, by its name.
    Line(String),
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// There is no `=`, or the check fails. Says why, and what to write.
pub fn pair(
    text: &str,
    check: fn(&str, &str) -> Result<(), String>,
) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("there is no `=`; write NAME=VALUE")?;
    check(name, value).map_err(|why| format!("{why}; write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a delay, and returns when it is over.
///
/// # Errors
/// It is not a delay, or is over too far in the future.
pub fn delay(text: &str) -> Result<Timestamp, String> {
    Timestamp::now()
        .checked_add(DELAY.read(text)?)
        .map_err(|_| "this is too far in the future".to_owned())
}

/// Reads a point in time: with a zone, without one in the local zone, or a time of day, which means
/// its next occurrence.
///
/// # Errors
/// It is not a time.
pub fn at(text: &str) -> Result<Timestamp, String> {
    time(text, &Zoned::now())
}

fn time(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "`{text}` is not a time: write `18:30`, `2030-01-31 18:30` or `2030-01-31T18:30:00Z`"
        )
    };
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // A time of day can also be read from a complete date, so the date is tried first.
    if let Ok(civil) = text.parse::<DateTime>() {
        let zoned = civil.to_zoned(now.time_zone().clone());
        return zoned.map(|zoned| zoned.timestamp()).map_err(|_| wrong());
    }
    let time: Time = text.parse().map_err(|_| wrong())?;
    let today = now.with().time(time).build().map_err(|_| wrong())?;
    let next = if today > *now {
        today
    } else {
        today.checked_add(1.day()).map_err(|_| wrong())?
    };
    Ok(next.timestamp())
}

fn whole(word: &str, range: RangeInclusive<i64>) -> Result<Value, String> {
    let number = word.parse::<i64>().ok();
    let number = number.filter(|number| range.contains(number));
    let (least, most) = range.into_inner();
    let number = number.map(Value::from);
    number.ok_or_else(|| format!("it is a whole number from {least} to {most}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "it is a text".to_owned())
}

fn integer<N: TryFrom<i64>>(value: &Value) -> Result<N, String> {
    let number = value.as_i64().and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| match N::try_from(-1) {
        Ok(_) => "it is a whole number".to_owned(),
        Err(_) => "it is a whole number, at least 0".to_owned(),
    })
}

fn duration(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(minutes) if minutes.as_u64().is_some() => Ok(minutes.to_string()),
        _ => Err("a duration is text such as \"90s\", or a number of minutes".to_owned()),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().into_iter().flatten();
    let texts: Option<Vec<String>> = list.map(|text| text.as_str().map(str::to_owned)).collect();
    texts
        .filter(|_| value.is_array())
        .ok_or_else(|| "it is a list of texts".to_owned())
}

fn pairs(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let object = value
        .as_object()
        .ok_or("it is an object of names and texts")?;
    let pairs = object.iter().map(|(name, value)| match value {
        Value::String(value) => Ok((name.clone(), value.clone())),
        _ => Err(format!("`{name}`: its value is a text")),
    });
    pairs.collect()
}

fn references(value: &Value) -> Result<Vec<Reference>, String> {
    let wrong = || "it is a list of tasks: numbers, or the names of earlier lines".to_owned();
    let list = value.as_array().ok_or_else(wrong)?.iter();
    let references = list.map(|item| match item {
        Value::String(name) => Ok(Reference::Line(name.clone())),
        _ => item
            .as_i64()
            .map(|id| Reference::Task(TaskId(id)))
            .ok_or_else(wrong),
    });
    references.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_a_zone_are_local_and_a_time_of_day_is_the_next() {
        let now: Zoned = "2030-05-01T12:00[Europe/Berlin]".parse().expect("a time");
        for (text, expected) in [
            ("2030-01-31T18:30:00Z", "2030-01-31T18:30:00Z"),
            ("2030-01-31 18:30", "2030-01-31T17:30:00Z"),
            ("18:30", "2030-05-01T16:30:00Z"),
            ("11:59", "2030-05-02T09:59:00Z"),
            ("12:00", "2030-05-02T10:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().expect("a time");
            assert_eq!(time(text, &now), Ok(expected), "{text}");
        }
        for wrong in ["", "25:00", "soon", "2030-02-31 10:00"] {
            assert!(time(wrong, &now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn delays_may_be_short_and_are_some() {
        for delay_text in ["500ms", "1"] {
            assert!(delay(delay_text).is_ok(), "{delay_text}");
        }
        for wrong in ["0", "0s", "-1s", "", "99999999999d"] {
            assert!(delay(wrong).is_err(), "{wrong}");
        }
    }
}
