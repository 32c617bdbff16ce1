//! Fields of JSON lines that another program writes: a field that is missing or has an unexpected
//! value reads as empty, and the rest of its line is still read.
//!
//! A line is read into these types without a tree of all its values: fields that are not asked for
//! take no memory, however long the line is.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How many items of a list and names of an object are kept; the rest is skipped.
const KEPT: usize = 1000;

/// A string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) Option<String>);

impl Word {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the string, unless it is blank.
    pub(super) fn said(self) -> Option<String> {
        self.0.filter(|text| !text.trim().is_empty())
    }
}

/// A number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number(pub(super) Option<f64>);

/// True or not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flag(pub(super) bool);

/// An object.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) Option<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// The first items of a list.
#[derive(Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The names of an object's first fields.
#[derive(Debug, Default)]
pub(super) struct FieldNames(pub(super) Vec<String>);

/// Pieces of content: a list of objects, or a string in its place.
#[derive(Debug)]
pub(super) enum Content<T> {
    Text(String),
    Pieces(Vec<T>),
}

impl<T> Default for Content<T> {
    fn default() -> Self {
        Self::Pieces(Vec::new())
    }
}

/// A name, or an object with one field of that name.
#[derive(Debug)]
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) holds: Option<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self {
            name: String::new(),
            holds: None,
        }
    }
}

/// The kinds of value that a field may hold. Each reads as empty unless overridden.
trait FieldValue<'de>: Default {
    fn text(_text: &str) -> Self {
        Self::default()
    }

    fn number(_number: f64) -> Self {
        Self::default()
    }

    fn flag(_flag: bool) -> Self {
        Self::default()
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

impl FieldValue<'_> for Word {
    fn text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl FieldValue<'_> for Number {
    fn number(number: f64) -> Self {
        Self(Some(number))
    }
}

impl FieldValue<'_> for Flag {
    fn flag(flag: bool) -> Self {
        Self(flag)
    }
}

impl<'de, T: Deserialize<'de>> FieldValue<'de> for Object<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|object| Self(Some(object)))
    }
}

impl<'de, T: Deserialize<'de>> FieldValue<'de> for List<T> {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        objects(list).map(Self)
    }
}

impl<'de> FieldValue<'de> for FieldNames {
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut names = Vec::new();
        while names.len() < KEPT {
            match object.next_entry::<String, IgnoredAny>()? {
                Some((name, _)) => names.push(name),
                None => return Ok(Self(names)),
            }
        }
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(names))
    }
}

impl<'de, T: Deserialize<'de>> FieldValue<'de> for Content<T> {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        objects(list).map(Self::Pieces)
    }
}

impl<'de, T: Deserialize<'de>> FieldValue<'de> for Named<T> {
    fn text(text: &str) -> Self {
        Self {
            name: text.to_owned(),
            holds: None,
        }
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let Some((name, holds)) = object.next_entry::<String, Object<T>>()? else {
            return Ok(Self::default());
        };
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self {
            name,
            holds: holds.0,
        })
    }
}

/// Returns the objects among the first items of a list.
fn objects<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut kept = Vec::new();
    for _ in 0..KEPT {
        match list.next_element::<Object<T>>()? {
            Some(item) => kept.extend(item.0),
            None => return Ok(kept),
        }
    }
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(kept)
}

struct PartReader<P>(PhantomData<P>);

impl<'de, P: FieldValue<'de>> Visitor<'de> for PartReader<P> {
    type Value = P;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<P, E> {
        Ok(P::flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<P, E> {
        Ok(P::number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<P, E> {
        Ok(P::number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<P, E> {
        Ok(P::number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<P, E> {
        Ok(P::text(text))
    }

    fn visit_unit<E>(self) -> Result<P, E> {
        Ok(P::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<P, A::Error> {
        P::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<P, A::Error> {
        P::object(object)
    }
}

macro_rules! deserialize {
    ($($part:ident $(<$inner:ident>)?),+ $(,)?) => {$(
        impl<'de $(, $inner: Deserialize<'de>)?> Deserialize<'de> for $part $(<$inner>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(PartReader(PhantomData))
            }
        }
    )+};
}

deserialize!(
    Word,
    Number,
    Flag,
    Object<T>,
    List<T>,
    FieldNames,
    Content<T>,
    Named<T>
);
