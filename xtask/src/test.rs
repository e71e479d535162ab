//! `cargo xtask test`: the guests that the tests need, then the tests.

use std::process::Command;

use crate::shell::{self, Result};
use crate::tree::Tree;
use crate::{guests, languages, tools};

/// The first of the arguments, to leave out the tests of `Demand`s.
pub const QUICK: &str = "--quick";

/// Has the tests list themselves instead of running.
const LIST: &str = "--list";

/// Tests whose guests take minutes to build, so that they are built only where the tests are going to run.
struct Demand {
    /// Modules of the suite.
    modules: &'static [&'static str],
    build: fn(&Tree) -> Result,
}

const DEMANDS: &[Demand] = &[
    Demand { modules: &["languages::", "big_guests::"], build: languages::build },
    Demand { modules: &["third_party::"], build: languages::build_third_party },
];

pub fn test(tree: &Tree, mut args: Vec<String>) -> Result {
    tools::ensure_test_programs()?;
    guests::build(tree)?;
    guests::test_sdk(tree)?;
    if args.first().is_some_and(|arg| arg == QUICK) {
        args.remove(0);
        let skipped = DEMANDS.iter().flat_map(|demand| demand.modules).flat_map(|module| ["--skip", module]);
        args = to_the_tests(&args, skipped);
    } else {
        // The tests themselves say which of them these arguments choose. Listing builds the host too.
        let mut list = to_the_tests(&args, []);
        if !list.iter().any(|arg| arg == LIST) {
            list.push(LIST.to_owned());
        }
        let chosen = shell::output(cargo_test(tree).args(list))?;
        for demand in DEMANDS.iter().filter(|demand| demand.is_for(&chosen)) {
            (demand.build)(tree)?;
        }
    }
    shell::run(cargo_test(tree).args(args))
}

impl Demand {
    fn is_for(&self, list: &str) -> bool {
        list.lines().any(|test| self.modules.iter().any(|module| test.starts_with(module)))
    }
}

fn cargo_test(tree: &Tree) -> Command {
    let mut command = tree.cargo();
    command
        .args(["test", "--workspace"])
        .env("WASMLINE_TEST_COMMANDS", tree.commands())
        .env("WASMLINE_TEST_FIXTURES", tree.fixtures())
        .env("WASMLINE_TEST_LANGUAGES", tree.languages())
        .env("WASMLINE_TEST_THIRD_PARTY", tree.third_party());
    command
}

/// Arguments of `cargo test` with more of those that go on to the tests.
fn to_the_tests<'a>(args: &[String], more: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut args = args.to_vec();
    if !args.iter().any(|arg| arg == "--") {
        args.push("--".to_owned());
    }
    args.extend(more.into_iter().map(str::to_owned));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_on_to_the_tests() {
        let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert_eq!(to_the_tests(&owned(&["echo"]), [LIST]), ["echo", "--", "--list"]);
        assert_eq!(to_the_tests(&owned(&["--", "--nocapture"]), [LIST]), ["--", "--nocapture", "--list"]);
        assert_eq!(to_the_tests(&[], []), ["--"]);
    }

    #[test]
    fn what_is_chosen_is_built() {
        let chosen = |list: &str| DEMANDS.iter().map(|demand| demand.is_for(list)).collect::<Vec<_>>();
        assert_eq!(chosen("lines::a: test\nseed::languages: test\n"), [false, false]);
        assert_eq!(chosen("lines::a: test\nbig_guests::b: test\n"), [true, false]);
        assert_eq!(chosen("third_party::a: test\nlanguages::b: test\n"), [true, true]);
    }
}
