//! `exit` closes the connection, once all earlier replies have been sent.

#![no_std]

use wasmline_sdk::prelude::*;
use wasmline_sdk::{command, connection};

command!(exit, no_std);

fn exit(_args: Vec<String>) -> Result {
    connection::close();
    Ok(())
}
