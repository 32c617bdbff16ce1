//! The real binary against real tmux, on private sockets.
//!
//! Every test has a [`harness::World`] of its own: a temporary directory with a home, a data
//! directory and a tmux server, all of which end with it. Tests state what users may rely on and
//! know nothing about how the program does it.

mod agents;
mod aider;
mod architecture;
mod backups;
mod bad_input;
mod batches;
mod busy_sessions;
mod busybox;
mod claude;
mod cli;
mod codex;
mod command_ends;
mod command_texts;
mod configuration;
mod conformance;
mod context;
mod crashes;
mod daemon;
mod demo;
mod dependencies;
mod explain;
mod following;
mod gemini;
mod harness;
mod headless;
mod held_lines;
mod hooks;
mod hostile_content;
mod hung_directories;
mod input_lines;
mod language_model;
mod ledger;
mod library;
mod lifecycle;
mod migration;
mod notifications;
mod opencode;
mod optional_tools;
mod output;
mod pane_identity;
mod policies;
mod policy_replay;
mod policy_switching;
mod pool_shells;
mod pools;
mod prompts;
mod queue;
mod ranking;
mod readme;
mod real_agents;
mod records;
mod repositories;
mod sample_prompts;
mod selection;
mod shell_settings;
mod shells;
mod task_changes;
mod top;
mod torture;
mod unnoticed;
mod walkthroughs;
mod wat_policies;
