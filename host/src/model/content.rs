//! What a task may consist of: its text and its variables, and why one is refused.

use thiserror::Error;

use super::task::Kind;

/// The largest content of a task, in bytes. Anything longer belongs in a file that the task names.
pub const MAX_CONTENT: usize = 1 << 20;

/// What is wrong with the content of a task.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContentError {
    /// There is nothing to do.
    #[error("the task is empty: say what is to be done")]
    Empty,
    /// See [`MAX_CONTENT`].
    #[error(
        "the task has {0} bytes, but at most {MAX_CONTENT} are accepted: put it into a file and send a command that reads it"
    )]
    TooLong(usize),
    /// No shell and no terminal accepts a NUL.
    #[error("the task contains a NUL byte at offset {0}: remove it")]
    Nul(usize),
    /// An agent is given its prompt as a paste, which a control character could end.
    #[error("the prompt contains the control character {0} at offset {1}: remove it")]
    Control(String, usize),
}

/// Checks that `content` can be a task: not blank, at most [`MAX_CONTENT`] bytes, no NUL.
///
/// # Errors
/// The first of these conditions that does not hold.
pub fn check_content(content: &str) -> Result<(), ContentError> {
    if content.trim().is_empty() {
        return Err(ContentError::Empty);
    }
    if content.len() > MAX_CONTENT {
        return Err(ContentError::TooLong(content.len()));
    }
    match content.find('\0') {
        Some(offset) => Err(ContentError::Nul(offset)),
        None => Ok(()),
    }
}

/// Checks that `content` can be a task of that kind: like [`check_content`], and a prompt must
/// contain no control characters except tabs and line endings.
///
/// # Errors
/// The first of these conditions that does not hold.
pub fn check_task(kind: Kind, content: &str) -> Result<(), ContentError> {
    check_content(content)?;
    match control(content).filter(|_| kind == Kind::Prompt) {
        None => Ok(()),
        Some((offset, char)) => {
            let name = format!("U+{:04X}", u32::from(char));
            Err(ContentError::Control(name, offset))
        }
    }
}

/// Returns the first control character of a text that is neither a tab nor a line ending.
pub fn control(text: &str) -> Option<(usize, char)> {
    let mut chars = text.char_indices().peekable();
    while let Some((offset, char)) = chars.next() {
        let ends_line = char == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n');
        if char.is_control() && !matches!(char, '\t' | '\n') && !ends_line {
            return Some((offset, char));
        }
    }
    None
}

/// Whether `name` can be a variable in every shell: letters, digits and `_`, with no digit first.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// How long a variable may be, including its name, the `=` and the final NUL. With a longer one,
/// Linux starts no program (`MAX_ARG_STRLEN`, see `execve(2)`).
pub const LONGEST_VARIABLE: usize = 128 << 10;

/// Why a variable is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// See [`is_variable_name`].
    #[error("the name must consist of letters, digits and `_`, and not begin with a digit")]
    Name,
    /// It could not be passed to a program.
    #[error("a value must not contain a NUL byte")]
    Nul,
    /// No program could be started with it.
    #[error(
        "with its name it has {0} bytes, but a shell that exports more than {LONGEST_VARIABLE} can no longer start programs: put it into a file"
    )]
    TooLong(usize),
}

/// Checks that every shell can be given this variable, and can still start programs with it.
///
/// # Errors
/// The first rule that is broken.
pub fn check_variable(name: &str, value: &str) -> Result<(), VariableError> {
    let length = name.len() + value.len() + 2;
    match value {
        _ if !is_variable_name(name) => Err(VariableError::Name),
        _ if value.contains('\0') => Err(VariableError::Nul),
        _ if length > LONGEST_VARIABLE => Err(VariableError::TooLong(length)),
        _ => Ok(()),
    }
}

/// Returns the first line of `content` that is not blank, cut at 200 characters.
pub fn summary(content: &str) -> String {
    let line = content
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.chars().take(200).collect()
}
