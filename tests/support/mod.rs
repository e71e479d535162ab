//! What the tests are written with: the real host in a directory of its own, clients that never hang, and looks at the
//! machine from outside the host.
//!
//! - `builder` writes a configuration and a commands directory; `host` runs `wasmline serve` on them.
//! - `client` is a raw socket, for exact bytes; `programs` runs real clients such as `nc`, and `session` types into one.
//! - `certificates` makes them for clients that speak TLS.
//! - `follower` is a child that runs until it is killed.
//! - `guests` finds the built commands and fixtures; `components` makes small ones from text.
//! - `machine` reads `/proc`; `trace` counts system calls; `wait` is the only place that waits for anything.

mod builder;
mod certificates;
mod client;
pub mod components;
mod follower;
pub mod guests;
mod host;
pub mod machine;
mod programs;
mod session;
mod trace;
mod wait;

pub use builder::{HostBuilder, quoted};
pub use certificates::{Authority, Certificate};
pub use client::Client;
pub use follower::Follower;
pub use host::Host;
pub use programs::{Outcome, nc, pipe_into, program, type_into, wasmline, wasmline_after};
pub use session::Session;
pub use trace::Trace;
pub use wait::{COMPILING, PATIENCE, eventually, eventually_some, eventually_within, pause, some_within};
