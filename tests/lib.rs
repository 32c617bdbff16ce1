//! The real binary against real tmux, on private sockets.

mod architecture;
mod readme;
