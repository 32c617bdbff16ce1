//! The real binary against real tmux, on private sockets.
//!
//! Every test has a [`world::World`] of its own: a temporary directory with a home, a data
//! directory and a tmux server, all of which end with it. Tests state what users may rely on and
//! know nothing about how the program does it.

mod agents;
mod aider;
mod architecture;
mod bad_input;
mod busy;
mod busybox;
mod choice;
mod claude;
mod cli;
mod codex;
mod context;
mod crashes;
mod daemon;
mod dead;
mod demo;
mod ends;
mod headless;
mod held_lines;
mod hooks;
mod hostile;
mod ledger;
mod library;
mod lifecycle;
mod lines;
mod looks;
mod messages;
mod migration;
mod model;
mod names;
mod opencode;
mod output;
mod policies;
mod pool_shells;
mod pools;
mod prompts;
mod queue;
mod readme;
mod reasons;
mod replays;
mod repositories;
mod saboteurs;
mod sample_prompts;
mod selection;
mod shells;
mod swaps;
mod tools;
mod walkthroughs;
mod world;
