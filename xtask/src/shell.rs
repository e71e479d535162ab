//! Running other programs: each is shown before it runs, and a failure names the command that failed.

use std::process::{Command, Stdio};

/// What a chore ends with. The text is for the person at the terminal.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Runs the command with this terminal's input and output.
pub fn run(command: &mut Command) -> Result {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.status().map_err(|error| format!("cannot run `{line}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed: {status}")) }
}

/// Runs the command with this terminal's input and errors, and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    eprintln!("+ {line}");
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("cannot run `{line}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{line}` failed: {}", output.status))
    }
}

/// Runs the command quietly and returns what it printed, trimmed; `None` where it is missing or fails.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or(&program).to_owned();
    let mut line = name;
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
