//! `kill ID` stops one of the tenant's running commands; `ps` shows the numbers.

#![no_std]

use wasmline_sdk::prelude::*;
use wasmline_sdk::{command, tasks};

command!(kill, no_std);

fn kill(args: Vec<String>) -> Result {
    let [id] = args.as_slice() else { return Err("usage: kill ID".into()) };
    let number = id.parse().map_err(|_| format!("{id} is no number of a command; `ps` lists them"))?;
    match tasks::stop(number) {
        Ok(()) => Ok(()),
        Err(tasks::Error::NotFound) => Err(format!("no command with the number {id} is running").into()),
        Err(error) => Err(error.into()),
    }
}
