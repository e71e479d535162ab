//! From single runs to rules: modestly, so that a rule allows what was seen and its like, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::policy::{ProcessGrant, Slot, whole_number};

/// Different words that are still a choice; more than that are any word.
const MAX_CHOICE: usize = 8;

/// A program, and which of its arguments are options. Runs that differ in these have rules of their own.
type Shape = (String, Vec<Option<String>>);

/// The fewest rules that allow these runs of programs, each with its arguments.
pub fn processes<'a>(runs: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Vec<ProcessGrant> {
    let mut groups: BTreeMap<Shape, Vec<BTreeSet<&str>>> = BTreeMap::new();
    for (program, args) in runs {
        let shape = args.iter().map(|arg| arg.starts_with('-').then(|| arg.clone())).collect();
        let words = groups.entry((program.to_owned(), shape)).or_insert_with(|| vec![BTreeSet::new(); args.len()]);
        for (seen, arg) in words.iter_mut().zip(args) {
            seen.insert(arg);
        }
    }
    let rule = |((program, _), words): (Shape, Vec<BTreeSet<&str>>)| ProcessGrant {
        program: program.into(),
        args: words.iter().map(slot).collect(),
    };
    groups.into_iter().map(rule).collect()
}

/// The narrowest slot for all of the words that is not a list of many.
fn slot(words: &BTreeSet<&str>) -> Slot {
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
    if let Some(directory) = common_directory(words) {
        return Slot::PathUnder { roots: vec![directory], pass: None };
    }
    match words.len() {
        0..=MAX_CHOICE => Slot::OneOf(words.iter().map(|word| (*word).to_owned()).collect()),
        _ => Slot::Any,
    }
}

/// The deepest directory that holds all of the paths; `None` where some word is no path, or only the root does.
fn common_directory(words: &BTreeSet<&str>) -> Option<PathBuf> {
    let mut common: Option<PathBuf> = None;
    for word in words {
        let path = Path::new(word);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let parent = path.parent()?;
        let shared = match &common {
            None => parent.components().collect(),
            Some(common) => {
                common.components().zip(parent.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        };
        common = Some(shared);
    }
    common.filter(|directory| directory != Path::new("/"))
}

/// The directories of the files, without those that lie in another. What lies in the root stands for itself: it may be a
/// directory that was taken for a file, and the root is no modest grant.
pub fn directories<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<PathBuf> {
    let parents = files.into_iter().map(Path::new).filter_map(|file| {
        let parent = file.parent()?;
        Some(if parent == Path::new("/") { file } else { parent })
    });
    outermost(parents.map(|parent| parent.components().collect()))
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
        assert_eq!(rules(&[&["/p", "-n", "10", "/var/log/x"]]), [r#"/p ["-n", "10", "/var/log/x"]"#]);
        assert_eq!(rules(&[&["/p"]]), ["/p []"]);
    }

    #[test]
    fn what_differs_becomes_its_kind() {
        let tail = [["/p", "-n", "10", "/var/log/x"], ["/p", "-n", "25", "/var/log/apt/y"]];
        assert_eq!(rules(&[&tail[0], &tail[1]]), [r#"/p ["-n", { int = [10, 25] }, { path-under = ["/var/log"] }]"#]);
        assert_eq!(rules(&[&["/p", "red"], &["/p", "green"]]), [r#"/p [{ one-of = ["green", "red"] }]"#]);
        // A file in the root shares nothing with another but the root, which is no modest grant.
        assert_eq!(rules(&[&["/p", "/a"], &["/p", "/b/c"]]), [r#"/p [{ one-of = ["/a", "/b/c"] }]"#]);
        assert_eq!(rules(&[&["/p", "/a/../b"], &["/p", "/a/c"]]), [r#"/p [{ one-of = ["/a/../b", "/a/c"] }]"#]);
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
