//! Those who mean harm, by what they have: a command, a file, a connection, the machine. `SECURITY.md` lists every case,
//! here and elsewhere.
//!
//! Whatever is tried, the host lives, another tenant is served meanwhile, and what it took is given back: `harness` looks
//! after that.

mod clients;
mod commands;
mod environment;
mod files;
mod harness;
