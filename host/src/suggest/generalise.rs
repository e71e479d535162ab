//! From single runs to rules: modestly, so that a rule allows what was seen and its like, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::policy::{ProcessGrant, Slot, directory_of, whole_number};

/// Different words that are still a choice; more than that are any word.
const MAX_CHOICE: usize = 8;

/// A program, and what its arguments are. Runs that differ in these have rules of their own.
type Shape = (String, Vec<Kind>);

/// What an argument is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Any other word.
    Word,
    /// A path in a directory that is not the root. No record tells whether it was held to its directory, and as a word it would
    /// be followed wherever a link leads, so it is never taken for one.
    Path,
    /// An option, which is what it is.
    Option(String),
}

impl Kind {
    fn of(arg: &str) -> Kind {
        match arg {
            _ if arg.starts_with('-') => Kind::Option(arg.to_owned()),
            _ if directory(arg).is_some() => Kind::Path,
            _ => Kind::Word,
        }
    }
}

/// The fewest rules that allow these runs of programs, each with its arguments.
pub fn processes<'a>(runs: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Vec<ProcessGrant> {
    let mut groups: BTreeMap<Shape, Vec<BTreeSet<&str>>> = BTreeMap::new();
    for (program, args) in runs {
        let shape = args.iter().map(|arg| Kind::of(arg)).collect();
        let words = groups.entry((program.to_owned(), shape)).or_insert_with(|| vec![BTreeSet::new(); args.len()]);
        for (seen, arg) in words.iter_mut().zip(args) {
            seen.insert(arg);
        }
    }
    let rule = |((program, kinds), words): (Shape, Vec<BTreeSet<&str>>)| ProcessGrant {
        program: program.into(),
        args: kinds.iter().zip(&words).map(|(kind, words)| slot(kind, words)).collect(),
    };
    groups.into_iter().map(rule).collect()
}

/// The narrowest slot for all of the words of a kind that is not a list of many.
fn slot(kind: &Kind, words: &BTreeSet<&str>) -> Slot {
    if *kind == Kind::Path {
        return Slot::PathUnder { roots: common_directories(words), pass: None };
    }
    let mut all = words.iter();
    if let (Some(word), None) = (all.next(), all.next()) {
        return Slot::Literal((*word).to_owned());
    }
    let numbers: Option<Vec<i64>> = words.iter().map(|word| whole_number(word)).collect();
    if let Some(numbers) = numbers
        && let (Some(min), Some(max)) = (numbers.iter().min(), numbers.iter().max())
    {
        return Slot::Int { min: *min, max: *max };
    }
    match words.len() {
        0..=MAX_CHOICE => Slot::OneOf(words.iter().map(|word| (*word).to_owned()).collect()),
        _ => Slot::Any,
    }
}

/// The deepest directory that holds all of the paths; where only the root does, those of each.
fn common_directories(paths: &BTreeSet<&str>) -> Vec<PathBuf> {
    let all = || paths.iter().filter_map(|path| directory(path));
    let shared = |one: PathBuf, other: PathBuf| -> PathBuf {
        one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    };
    match all().reduce(shared) {
        Some(common) if common != Path::new("/") => vec![common],
        _ => outermost(all()),
    }
}

/// The directory of a path, where the path can be held to one that is not the root.
fn directory(path: &str) -> Option<PathBuf> {
    let spelled = Path::new(path);
    let is_plain = spelled.is_absolute() && spelled.components().all(|part| part != Component::ParentDir);
    let parent: PathBuf = spelled.parent().filter(|_| is_plain)?.components().collect();
    (parent != Path::new("/")).then_some(parent)
}

/// The directories of the files, as a grant names them, without those that lie in another.
pub fn directories<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<PathBuf> {
    outermost(files.into_iter().filter_map(directory_of).map(|directory| directory.components().collect()))
}

/// Those of the directories that lie in no other.
pub fn outermost(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let all: BTreeSet<PathBuf> = directories.into_iter().collect();
    let inner = |directory: &&PathBuf| directory.ancestors().skip(1).any(|outer| all.contains(outer));
    all.iter().filter(|directory| !inner(directory)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{Asked, Effective, Grants};

    fn rules(runs: &[&[&str]]) -> Vec<String> {
        let runs: Vec<Vec<String>> = runs.iter().map(|run| run.iter().map(|&word| word.to_owned()).collect()).collect();
        let grants = processes(runs.iter().map(|run| (&*run[0], &run[1..])));
        let shown = grants.iter().map(|grant| {
            let args: Vec<String> = grant.args.iter().map(Slot::to_string).collect();
            format!("{} [{}]", grant.program.display(), args.join(", "))
        });
        let shown = shown.collect();
        // Whatever becomes of it, all that was seen is allowed.
        let granted = Effective::new(Arc::new(Grants { process: grants, ..Grants::default() }), Asked::Everything);
        for run in &runs {
            granted.spawn(&run[0], &run[1..]).unwrap();
        }
        shown
    }

    #[test]
    fn a_single_run_is_taken_at_its_word() {
        assert_eq!(rules(&[&["/p", "-n", "10", "x"]]), [r#"/p ["-n", "10", "x"]"#]);
        assert_eq!(rules(&[&["/p"]]), ["/p []"]);
    }

    #[test]
    fn a_path_is_held_to_its_directory() {
        assert_eq!(rules(&[&["/p", "/var/log/x"]]), [r#"/p [{ path-under = ["/var/log"] }]"#]);
        let apart = [r#"/p [{ path-under = ["/a/b", "/c"] }]"#];
        assert_eq!(rules(&[&["/p", "/a/b/x"], &["/p", "/c/y"], &["/p", "/c/d/z"]]), apart);
        // What lies in the root cannot be held to anything but the root.
        assert_eq!(rules(&[&["/p", "/vmlinuz"]]), [r#"/p ["/vmlinuz"]"#]);
        assert_eq!(rules(&[&["/p", "/"]]), [r#"/p ["/"]"#]);
        let mixed = [r#"/p ["red"]"#, r#"/p [{ path-under = ["/a"] }]"#];
        assert_eq!(rules(&[&["/p", "/a/b"], &["/p", "red"]]), mixed);
    }

    #[test]
    fn what_differs_becomes_its_kind() {
        let tail = [["/p", "-n", "10", "/var/log/x"], ["/p", "-n", "25", "/var/log/apt/y"]];
        assert_eq!(rules(&[&tail[0], &tail[1]]), [r#"/p ["-n", { int = [10, 25] }, { path-under = ["/var/log"] }]"#]);
        assert_eq!(rules(&[&["/p", "red"], &["/p", "green"]]), [r#"/p [{ one-of = ["green", "red"] }]"#]);
        // A file in the root shares nothing with another but the root, which is no modest grant.
        let apart = [r#"/p ["/a"]"#, r#"/p [{ path-under = ["/b"] }]"#];
        assert_eq!(rules(&[&["/p", "/a"], &["/p", "/b/c"]]), apart);
        let apart = [r#"/p ["/a/../b"]"#, r#"/p [{ path-under = ["/a"] }]"#];
        assert_eq!(rules(&[&["/p", "/a/../b"], &["/p", "/a/c"]]), apart);
        assert_eq!(rules(&[&["/p", "007"], &["/p", "8"]]), [r#"/p [{ one-of = ["007", "8"] }]"#]);
        let many: Vec<Vec<String>> = (0..9).map(|number| vec!["/p".to_owned(), format!("w{number}")]).collect();
        let many: Vec<Vec<&str>> = many.iter().map(|run| run.iter().map(String::as_str).collect()).collect();
        let many: Vec<&[&str]> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(rules(&many), ["/p [{ any = true }]"]);
    }

    #[test]
    fn options_and_lengths_are_not_mixed() {
        assert_eq!(
            rules(&[&["/p", "-a", "x"], &["/p", "-b", "y"], &["/p", "x"], &["/q", "x"]]),
            [r#"/p ["x"]"#, r#"/p ["-a", "x"]"#, r#"/p ["-b", "y"]"#, r#"/q ["x"]"#]
        );
    }

    #[test]
    fn directories_hold_their_files() {
        let found = directories(["/etc/hosts", "/etc/ssl/x", "/srv/a/b", "/etc/passwd"]);
        assert_eq!(found, [PathBuf::from("/etc"), PathBuf::from("/srv/a")]);
        assert_eq!(directories(["/x", "/etc", "/etc/hosts", "/"]), [PathBuf::from("/etc"), PathBuf::from("/x")]);
    }
}
