//! What differs between databases: running one statement, and transactions.
//!
//! Everything above this trait is portable SQL with the parameters `$1`, `$2`, ..., so that a
//! database is one file that implements [`Db`], and its schema.

use std::rc::Rc;

use jiff::Timestamp;
use thiserror::Error;

use super::rows::stamp;
use crate::model::ids::{AttemptId, TaskId};

/// One connection to a database.
///
/// A statement that fails changes nothing, and leaves the transaction usable that it is part of. A
/// database that would abort the transaction needs a savepoint for each statement.
pub(super) trait Db: Send {
    /// Runs a statement that returns no rows, and returns how many rows it changed.
    ///
    /// # Errors
    /// The database refused.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize, DbError>;

    /// Runs a statement to its end and returns its rows.
    ///
    /// # Errors
    /// The database refused.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError>;

    /// Starts a transaction, or a nested one if one is open. No other connection can write until
    /// the outer one ends: what is read in it stays true.
    ///
    /// # Errors
    /// The database refused, or it has already given up the outer transaction.
    fn begin(&mut self) -> Result<(), DbError>;

    /// Ends the innermost transaction. The changes of the outer one are then on disk.
    ///
    /// # Errors
    /// The database refused: the transaction must be rolled back.
    fn commit(&mut self) -> Result<(), DbError>;

    /// Undoes the innermost transaction.
    ///
    /// # Errors
    /// The database refused.
    fn roll_back(&mut self) -> Result<(), DbError>;

    /// Says how what is committed from now on is kept, between two transactions.
    ///
    /// # Errors
    /// The database refused.
    fn keep(&mut self, kept: Durability) -> Result<(), DbError>;

    /// Returns a number that changes whenever another connection has changed something.
    ///
    /// # Errors
    /// The database refused.
    fn version(&mut self) -> Result<i64, DbError>;

    /// Returns what a statement says after a table's name so that it is read by this index; empty: the
    /// database always chooses by itself.
    fn by_index(&self, index: &'static str) -> String;

    /// Returns the first row, if there is any.
    ///
    /// # Errors
    /// The database refused.
    fn query_one(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Whether there is a row.
    ///
    /// # Errors
    /// The database refused.
    fn exists(&mut self, sql: &str, values: &[Value]) -> Result<bool, DbError> {
        Ok(self.query_one(sql, values)?.is_some())
    }
}

/// How a commit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// It is seen by everyone, and on disk before any later one that is kept at once. If the power fails
    /// until then, it is lost as a whole.
    Soon,
    /// It is on disk.
    AtOnce,
}

/// Why the database refused, in its own words, or why a row cannot be read.
///
/// It is one line, though the database may quote several of a schema.
#[derive(Debug, Error)]
#[error("{}", .0.to_string().split_whitespace().collect::<Vec<_>>().join(" "))]
pub struct DbError(Box<dyn std::error::Error + Send + Sync>);

impl DbError {
    /// Wraps the error of a database.
    pub(super) fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// Returns the error of a column whose value cannot be read.
    pub(super) fn of_column(column: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("column `{column}`: {why}").into())
    }

    /// Returns the error of an insertion that reported no row.
    pub(super) fn no_row() -> Self {
        Self("the statement returned no row".into())
    }
}

/// A value in a row, or of a parameter. A truth value is 0 or 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    /// Bytes, or text that is not UTF-8.
    Bytes(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "a whole number",
            Self::Real(_) => "a fraction",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

macro_rules! value_from {
    ($($from:ty: |$value:ident| $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}

value_from! {
    i64: |number| Self::Integer(number);
    i32: |number| Self::Integer(number.into());
    u32: |number| Self::Integer(number.into());
    u64: |number| Self::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    usize: |number| Self::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    bool: |is_true| Self::Integer(is_true.into());
    &str: |text| Self::Text(text.to_owned());
    &String: |text| Self::Text(text.clone());
    String: |text| Self::Text(text);
    &[u8]: |bytes| Self::Bytes(bytes.to_vec());
    Timestamp: |time| Self::Text(stamp(time));
    TaskId: |id| Self::Integer(id.0);
    AttemptId: |id| Self::Integer(id.0);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// Lists parameters: the first is `$1`.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::db::Value::from($value)),*]
    };
}
pub(super) use values;

/// One row of a result. Its values are read by the names of their columns.
#[derive(Debug, Clone)]
pub(super) struct Row {
    columns: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// Makes a row of values in the order of `columns`.
    pub(super) fn new(columns: Rc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// Returns the value of a column as it is.
    ///
    /// # Errors
    /// There is no such column.
    pub(super) fn value(&self, column: &str) -> Result<&Value, DbError> {
        let mut columns = self.columns.iter().zip(&self.values);
        let found = columns.find(|(name, _)| *name == column);
        let found = found.map(|(_, value)| value);
        found.ok_or_else(|| DbError::of_column(column, "the result has none"))
    }

    /// Returns the value of a column as a `T`.
    ///
    /// # Errors
    /// There is no such column, or its value is of another type.
    pub(super) fn get<T: FromValue>(&self, column: &str) -> Result<T, DbError> {
        let value = self.value(column)?;
        T::from_value(value).ok_or_else(|| {
            DbError::of_column(column, format!("{} is not {}", value.kind(), T::EXPECTED))
        })
    }
}

/// A type that a column can be read as.
pub(super) trait FromValue: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;

    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

macro_rules! narrower {
    ($($narrow:ty),*) => {$(
        impl FromValue for $narrow {
            const EXPECTED: &'static str = "a whole number within range";

            fn from_value(value: &Value) -> Option<Self> {
                i64::from_value(value)?.try_into().ok()
            }
        }
    )*};
}

narrower!(i32, u32, u64);

impl FromValue for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Text(text) => Some(text.clone().into_bytes()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl FromValue for TaskId {
    const EXPECTED: &'static str = i64::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self)
    }
}

impl FromValue for AttemptId {
    const EXPECTED: &'static str = i64::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_by_name_and_errors_name_them() {
        let columns: Rc<[String]> = ["id", "name", "left"].map(str::to_owned).into();
        let values = values![TaskId(7), "x", None::<i64>].to_vec();
        let row = Row::new(columns, values);
        assert_eq!(row.get::<String>("name").expect("text"), "x");
        assert_eq!(row.get::<TaskId>("id").expect("an id"), TaskId(7));
        assert_eq!(row.get::<Option<u32>>("left").expect("null"), None);
        let refused = |error: DbError| error.to_string();
        let wrong = row.get::<i64>("name").expect_err("text");
        assert_eq!(refused(wrong), "column `name`: text is not a whole number");
        let null = row.get::<bool>("left").expect_err("null");
        assert_eq!(refused(null), "column `left`: null is not 0 or 1");
        let missing = row.get::<i64>("other").expect_err("none");
        assert_eq!(refused(missing), "column `other`: the result has none");
    }
}
