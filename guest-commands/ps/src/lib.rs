//! `ps` lists the tenant's running commands, itself among them.

#![no_std]

use wasmline_sdk::prelude::*;
use wasmline_sdk::tasks::{self, Task};
use wasmline_sdk::{command, connection};

command!(ps, no_std);

fn ps(args: Vec<String>) -> Result {
    if !args.is_empty() {
        return Err("usage: ps".into());
    }
    let mut table = row("ID", "AGE", "CPU", "MEMORY", "CLIENT", "COMMAND");
    for task in tasks::running()? {
        table += &line(&task);
    }
    connection::write(table)?;
    Ok(())
}

fn line(task: &Task) -> String {
    let mut words = task.command.clone();
    for word in &task.args {
        words.push(' ');
        words += word;
    }
    let id = format!("{}", task.id);
    let memory = format!("{} KiB", task.memory / 1024);
    row(&id, &seconds(task.age), &seconds(task.cpu), &memory, &task.peer, &words)
}

/// Milliseconds as seconds with one digit behind the point.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

fn row(id: &str, age: &str, cpu: &str, memory: &str, client: &str, command: &str) -> String {
    format!("{id:>6}  {age:>9}  {cpu:>8}  {memory:>10}  {client:21}  {command}\n")
}
