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

use crate::support::pipe_into;

/// The tests that `SECURITY.md` names are there, by these names.
#[test]
fn what_is_promised_is_tested() {
    let text = include_str!("../../SECURITY.md");
    let is_name = |word: &&str| {
        word.contains("::")
            && !word.ends_with(':')
            && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':'))
    };
    let this = std::env::current_exe().expect("the tests are a program");
    let list = pipe_into(std::process::Command::new(this).arg("--list"), "").exited(0).out();
    let tests: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named: Vec<&str> = text.split('`').filter(is_name).collect();
    let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(name)).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
    assert!(named.len() > 100, "it names {} tests", named.len());
    // And each of the cases here is named there, but for the one that is harmless, and this one.
    let is_case =
        |name: &&&str| name.starts_with("hostile::") && name.matches("::").count() > 1 && !name.contains("inert");
    let hidden: Vec<&&str> = tests.iter().filter(is_case).filter(|name| !named.contains(name)).collect();
    assert!(hidden.is_empty(), "SECURITY.md does not name these: {hidden:?}");
}
