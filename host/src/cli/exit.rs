//! Exit codes, documented in one list, and the errors that lead to them.

use std::fmt;
use std::process::ExitCode;

use crate::daemon::{DaemonError, LockError};
use crate::node::AimError;
use crate::options::OptionError;
use crate::policy::LoadError;
use crate::store::{BackupError, RestoreError, SalvageError, StoreError};
use crate::toolchain::ToolchainError;

/// How the program ends. `assigner help` and the README show this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The task or the operation failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// tmux is missing, too old or does not answer.
    Tmux,
    /// A daemon runs already, or none runs where one is needed.
    Daemon,
    /// The data directory or its database cannot be used.
    Data,
    /// The policy cannot be loaded.
    Policy,
    /// The output cannot be written. What the command was to change is changed.
    Output,
    /// `wait --timeout` ran out.
    TimedOut,
    /// A person pressed Ctrl-C while a task was followed.
    Interrupted,
    /// The exit code of the task that was followed, or of the daemon that was started.
    Task(u8),
}

/// The list for `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0    done
  1    the task or the operation failed
  2    the command line or the configuration is wrong
  3    tmux is missing, too old or does not answer
  4    a daemon is already running, or none is running where one is needed
  5    the data directory or its database cannot be used
  6    the policy cannot be loaded
  7    the output cannot be written; what the command was to change is changed
  124  `wait --timeout` ran out
  130  Ctrl-C while a task was followed; the task goes on";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Tmux => 3,
            Exit::Daemon => 4,
            Exit::Data => 5,
            Exit::Policy => 6,
            Exit::Output => 7,
            Exit::TimedOut => 124,
            Exit::Interrupted => 130,
            Exit::Task(code) => code,
        })
    }
}

/// An error as a person sees it: one line, and the program's exit code.
#[derive(Debug)]
pub(super) struct CommandFailure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl CommandFailure {
    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<StoreError> for CommandFailure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::GivenUp => Exit::Interrupted,
            StoreError::Illegal { .. }
            | StoreError::NoTask(_)
            | StoreError::NoAttempt(_)
            | StoreError::NoSession(_)
            | StoreError::NotPending { .. }
            | StoreError::NotAsking { .. }
            | StoreError::Answered(_)
            | StoreError::Changed(_)
            | StoreError::ParentFailed { .. }
            | StoreError::FollowsLater { .. }
            | StoreError::SecretsGone { .. }
            | StoreError::BatchDropped
            | StoreError::NotOriginal { .. } => Exit::Failed,
            StoreError::Directory { .. }
            | StoreError::Open { .. }
            | StoreError::Newer { .. }
            | StoreError::NotPrivate(_)
            | StoreError::Served { .. }
            | StoreError::Lost { .. }
            | StoreError::NoQueue { .. }
            | StoreError::Displaced { .. }
            | StoreError::Moved { .. }
            | StoreError::Foreign { .. }
            | StoreError::Copy { .. }
            | StoreError::Secrets { .. }
            | StoreError::Queued { .. }
            | StoreError::BatchGone
            | StoreError::Sql(_)
            | StoreError::NotCommitted
            | StoreError::Stopped => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<AimError> for CommandFailure {
    fn from(error: AimError) -> Self {
        match error {
            AimError::Ambiguous(error) => Self::usage(AimError::Ambiguous(error)),
            AimError::Store(error) => error.into(),
        }
    }
}

impl From<BackupError> for CommandFailure {
    fn from(error: BackupError) -> Self {
        let exit = match error {
            BackupError::Store(error) => return error.into(),
            BackupError::Damaged { .. } => Exit::Data,
            BackupError::Exists { .. }
            | BackupError::NoFile { .. }
            | BackupError::Beside { .. }
            | BackupError::Write { .. }
            | BackupError::Copy { .. }
            | BackupError::Interrupted => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<RestoreError> for CommandFailure {
    fn from(error: RestoreError) -> Self {
        let exit = match error {
            RestoreError::Store(error) | RestoreError::File(SalvageError::Store(error)) => {
                return error.into();
            }
            RestoreError::File(_) | RestoreError::Itself { .. } => Exit::Failed,
            RestoreError::Nothing { .. }
            | RestoreError::Busy { .. }
            | RestoreError::Keep { .. } => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<OptionError> for CommandFailure {
    fn from(error: OptionError) -> Self {
        match error {
            OptionError::Wrong(message) => Self::usage(message),
            OptionError::Failed(message) => Self::new(Exit::Failed, message),
            OptionError::Store(error) => error.into(),
        }
    }
}

impl From<LoadError> for CommandFailure {
    fn from(error: LoadError) -> Self {
        Self::new(Exit::Policy, error)
    }
}

impl From<ToolchainError> for CommandFailure {
    fn from(error: ToolchainError) -> Self {
        let exit = match &error {
            ToolchainError::Name(_) | ToolchainError::Manifest { .. } => Exit::Usage,
            ToolchainError::Occupied(_)
            | ToolchainError::Missing { .. }
            | ToolchainError::Failed { .. }
            | ToolchainError::Odd { .. }
            | ToolchainError::File { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<LockError> for CommandFailure {
    fn from(error: LockError) -> Self {
        let exit = match &error {
            LockError::Held { .. } => Exit::Daemon,
            LockError::File { .. } => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<DaemonError> for CommandFailure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Lock(error) => error.into(),
            DaemonError::Store(error) => error.into(),
            DaemonError::Tmux(_) => Self::new(Exit::Tmux, error),
            DaemonError::Spool(_) | DaemonError::Archive { .. } => Self::new(Exit::Data, error),
            DaemonError::System(_) => Self::new(Exit::Failed, error),
        }
    }
}

/// Writing to a pipe that nobody reads any more is not an error of ours: `assigner list | head`.
impl From<std::io::Error> for CommandFailure {
    fn from(error: std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Exit::Done
        } else {
            Exit::Output
        };
        Self::new(exit, format!("cannot write the output: {error}"))
    }
}
