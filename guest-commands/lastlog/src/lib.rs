//! `lastlog` prints the last lines of a log as `tail` gives them, without the headings that `tail` puts between files.
//!
//! The first line of the reply waits for the first line of the log, so that a failure to read it is all that the
//! client sees of it.

#![no_std]

use wasmline_sdk::prelude::*;
use wasmline_sdk::process::{self, Child};
use wasmline_sdk::{command, config, connection};

const TAIL: &str = "/usr/bin/tail";

command!(lastlog, no_std);

fn lastlog(args: Vec<String>) -> Result {
    if !args.is_empty() {
        return Err("lastlog takes no arguments".into());
    }
    let file = config::get("file")?.ok_or("the setting `file` is missing")?;
    let tail = process::spawn(TAIL, ["-n", "10", &file])?;
    let mut begun = false;
    let mut heading = false;
    let mut line_open = false;
    for piece in tail.lines() {
        let piece = piece?;
        if !begun {
            reply!("Begin lastlog")?;
            begun = true;
        }
        if piece.starts_line {
            heading = piece.bytes.starts_with(b"==");
        }
        if !heading {
            line_open = !piece.ends_line();
            connection::write(piece.bytes)?;
        }
    }
    let status = tail.wait()?;
    if !status.success() {
        return Err(complaint(&tail).unwrap_or_else(|| format!("tail {status}")).into());
    }
    if !begun {
        reply!("Begin lastlog")?;
    }
    if line_open {
        reply!()?;
    }
    reply!("End lastlog")?;
    Ok(())
}

/// The first line that `tail` wrote to its standard error.
fn complaint(tail: &Child) -> Option<String> {
    let line = tail.stderr_lines().next()?.ok()?;
    Some(String::from_utf8_lossy(&line.bytes).trim_end().to_owned())
}
