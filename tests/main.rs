//! The tests of wasmline: the real host on port 0, driven by real clients and raw sockets. Run with `cargo xtask test`.
//!
//! Every test starts hosts of its own and shares nothing with another but the cache of compiled guests.

mod attempts;
mod audit;
mod bad_input;
mod big_guests;
mod check;
mod clients;
mod compiling;
mod config;
mod connection;
mod costs;
mod digest;
mod directories;
mod escaping;
mod explain;
mod hostile;
mod hot_reload;
mod identity;
mod inherited;
mod inspect;
mod kept;
mod languages;
mod limits;
mod lines;
mod logs;
mod memory;
mod new;
mod operation;
mod ordering;
mod process;
mod process_grants;
mod reloading;
mod robustness;
mod run;
mod sandbox;
mod seed;
mod services;
mod slow_clients;
mod suggest;
mod support;
mod tenancy;
mod tenants_d;
mod third_party;
mod vanishing;
mod wasi_programs;
