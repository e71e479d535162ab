//! `help` lists the tenant's commands, and `help NAME` tells how one is used.

#![no_std]

use wasmline_sdk::catalog::{self, Entry, Refusal};
use wasmline_sdk::prelude::*;
use wasmline_sdk::{command, connection};

command!(help, no_std);

fn help(args: Vec<String>) -> Result {
    let entries = catalog::entries();
    match args.as_slice() {
        [] => {
            connection::write(table(&entries))?;
            connection::write(refused(&catalog::refusals()))?;
        }
        [name] => match entries.iter().find(|entry| entry.name == *name) {
            Some(entry) => connection::write(page(entry))?,
            None => return Err(format!("no command is named {name}").into()),
        },
        _ => return Err("usage: help [NAME]".into()),
    }
    Ok(())
}

/// A line for each command, with the summaries below each other.
fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    let row = |entry: &Entry| format!("{:width$}  {}", entry.name, entry.summary).trim_end().to_owned() + "\n";
    entries.iter().map(row).collect()
}

/// What the operator has to know: the files that do not serve, and why.
fn refused(refusals: &[Refusal]) -> String {
    let row = |refusal: &Refusal| format!("refused for {}: {}: {}\n", refusal.tenant, refusal.path, refusal.reason);
    refusals.iter().map(row).collect()
}

fn page(entry: &Entry) -> String {
    let mut page = format!("usage: {}\n", entry.usage);
    if !entry.summary.is_empty() {
        page += &entry.summary;
        page.push('\n');
    }
    page
}
