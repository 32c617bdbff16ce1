//! What an author of an assigner policy in Rust needs.
//!
//! A policy decides which session gets which task. It is a WebAssembly component of the world
//! `assigner:policy/policy`; this crate holds the bindings, so that an author writes plain Rust:
//!
//! ```
//! use assigner_policy::{Decision, Description, Policy, Round, Session, Task, greedy_by_terms, term};
//!
//! /// Prefers sessions whose tasks tend to end well.
//! struct Steady;
//!
//! impl Policy for Steady {
//!     fn describe() -> Description {
//!         Description {
//!             name: "steady".into(),
//!             version: "0.1.0".into(),
//!             summary: "prefers sessions whose tasks tend to end well".into(),
//!             default_config: "{}".into(),
//!             wants_busy: false,
//!         }
//!     }
//!
//!     fn configure(_settings: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn assign(&self, round: &Round, tasks: &[Task], sessions: &[Session]) -> Vec<Decision> {
//!         greedy_by_terms(round, tasks, sessions, |_task, session| {
//!             let ended = session.completed.saturating_add(session.failed).max(1);
//!             let percent = u64::from(session.completed) * 100 / u64::from(ended);
//!             Some(vec![term("success rate", i32::try_from(percent).unwrap_or(100))])
//!         })
//!     }
//! }
//!
//! assigner_policy::export!(Steady);
//! # fn main() {}
//! ```
//!
//! The crate type is `cdylib`; `cargo build --release --target wasm32-unknown-unknown` gives a
//! file that `assigner --policy` takes as it is. Everything here also compiles natively, so a
//! policy is tested with plain `cargo test`; [`testing`] has the tasks and sessions for that.

pub use bindings::assigner::policy::types::{
    Attribute, Choice, Context, Decision, Kind, Postponement, Ranking, Round, Session, Task, Term,
};
pub use bindings::exports::assigner::policy::matching::Description;
pub use paths::Relation;
pub use select::{Fit, Judge, greedy, greedy_by_terms, term};

pub mod log;
pub mod paths;
mod select;
pub mod testing;

/// A policy: a pure function from a round to decisions, with settings.
///
/// The host makes a new instance for every round, so nothing is remembered from one to the next:
/// the same settings, tasks and sessions must always give the same decisions.
pub trait Policy: Sized {
    /// Returns the policy's name, what it does and which settings it has.
    fn describe() -> Description;

    /// Returns the policy with the user's settings, a JSON object in which every setting may be
    /// missing.
    ///
    /// # Errors
    ///
    /// A line for the user that names the wrong setting and its valid values.
    fn configure(settings: &str) -> Result<Self, String>;

    /// Returns one decision for each task, in the order of the tasks: highest priority first,
    /// then oldest.
    ///
    /// No session may be assigned twice, and only one that is ready and that the task's
    /// `eligible` allows; otherwise the host refuses the whole answer. [`greedy`] ensures that.
    fn assign(&self, round: &Round, tasks: &[Task], sessions: &[Session]) -> Vec<Decision>;
}

/// Makes a type that implements [`Policy`] the policy of this component.
///
/// Exports exist only in WebAssembly. Natively, this checks the type and does nothing else,
/// so that several policies can be linked into one test or benchmark.
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        const _: fn() = || {
            fn is_policy<P: $crate::Policy>() {}
            is_policy::<$policy>();
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static CONFIGURED: ::std::cell::RefCell<::std::option::Option<$policy>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::bindings::exports::assigner::policy::matching::Guest for Component {
                fn describe() -> $crate::Description {
                    $crate::log::panics();
                    <$policy as $crate::Policy>::describe()
                }

                fn configure(
                    settings: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::log::panics();
                    let policy = <$policy as $crate::Policy>::configure(&settings)?;
                    CONFIGURED.set(::std::option::Option::Some(policy));
                    ::std::result::Result::Ok(())
                }

                fn assign(
                    round: $crate::Round,
                    tasks: ::std::vec::Vec<$crate::Task>,
                    sessions: ::std::vec::Vec<$crate::Session>,
                ) -> ::std::vec::Vec<$crate::Decision> {
                    CONFIGURED.with_borrow(|policy| {
                        let policy = policy.as_ref().expect("configure comes before assign");
                        $crate::Policy::assign(policy, &round, &tasks, &sessions)
                    })
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}

/// Generated from `wit/policy.wit`; public only for [`export!`](crate::export).
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "policy",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
    });
}
