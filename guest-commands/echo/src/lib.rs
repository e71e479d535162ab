//! `echo WORD...` writes its words back, with one space between them.

#![no_std]

use wasmline_sdk::command;
use wasmline_sdk::connection;
use wasmline_sdk::prelude::*;

command!(echo, no_std);

fn echo(args: Vec<String>) -> Result {
    let mut line = args.join(" ");
    line.push('\n');
    connection::write(line)?;
    Ok(())
}
