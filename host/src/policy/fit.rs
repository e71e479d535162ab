//! Whether a program, its arguments and a path fit a set of grants, by their spelling alone.

use std::path::{Component, Path, PathBuf};

use super::grants::ProcessGrant;
use super::slots::{PassedAs, Slot};

/// A path that is allowed by its spelling, taken apart.
///
/// Spelling is half of the answer: a symbolic link may lead elsewhere. Whoever opens the path does it by opening
/// `root` and going down `relative` from there without following any symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beneath {
    /// The granted directory. It is the operator's word, so symbolic links on the way to it are fine.
    pub root: PathBuf,
    /// The way down from `root`. It is not empty and holds no `..`; it ends in `/` where the path did.
    pub relative: PathBuf,
}

/// An argument that has to be found beneath a directory before the program may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathArgument {
    /// Which argument, counted from 0 without the program's own name.
    pub index: usize,
    /// Where it has to be.
    pub place: Beneath,
    /// What its slot says of how the program gets it.
    pub pass: Option<PassedAs>,
}

/// The grant that allows a program with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    /// Which of the grants, counted from 0.
    pub rule: usize,
    /// The arguments that it takes for paths.
    pub paths: Vec<PathArgument>,
}

/// No grant allows a program with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which of the grants came closest, if any is about the program.
    pub closest: Option<usize>,
    /// What keeps it from fitting.
    pub misfit: Misfit,
}

/// Why no grant fits a program and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit {
    /// No grant is about the program.
    Program,
    /// The grant that came closest has no more than this many slots, and there are more arguments.
    TooMany(usize),
    /// The grant that came closest has slots after the last of this many arguments.
    TooFew(usize),
    /// More than so many arguments are paths.
    TooManyPaths(usize),
    /// The argument at this index does not fit its slot in the grant that came closest. The text goes on from a
    /// mention of the argument.
    Argument(usize, String),
}

impl Misfit {
    /// How many arguments fit before something did not.
    fn reached(&self) -> usize {
        match self {
            Self::Program => 0,
            Self::TooMany(count) | Self::TooFew(count) | Self::TooManyPaths(count) | Self::Argument(count, _) => *count,
        }
    }
}

/// Finds the first grant that fits.
///
/// # Errors
/// When none does; it tells how near the nearest comes.
pub fn spawn(grants: &[ProcessGrant], program: &str, args: &[String]) -> Result<Fit, Unfit> {
    let mut unfit = Unfit { closest: None, misfit: Misfit::Program };
    // Spelling decides, not what it amounts to: the path that is run is the one that was granted.
    for (rule, grant) in grants.iter().enumerate().filter(|(_, grant)| grant.program.as_os_str() == program) {
        match arguments(grant, args) {
            Ok(paths) => return Ok(Fit { rule, paths }),
            Err(misfit) if misfit.reached() >= unfit.misfit.reached() => {
                unfit = Unfit { closest: Some(rule), misfit };
            }
            Err(_) => {}
        }
    }
    Err(unfit)
}

/// Finds where `path` is beneath the deepest of `roots` that it is beneath.
///
/// The deepest is right for all: what is found beneath it without following a link is beneath the others too.
///
/// # Errors
/// When it is beneath none, or cannot be a path beneath any.
pub fn beneath(path: &str, roots: &[PathBuf]) -> Result<Beneath, PathFault> {
    let spelled = Path::new(path);
    if path.contains('\0') {
        return Err(PathFault::Nul);
    }
    if !spelled.is_absolute() {
        return Err(PathFault::NotAbsolute);
    }
    if spelled.components().any(|part| part == Component::ParentDir) {
        return Err(PathFault::Parent);
    }
    let depth = |root: &Path| root.components().count();
    let root = roots
        .iter()
        .filter(|root| spelled.starts_with(root))
        .max_by_key(|root| depth(root))
        .ok_or(PathFault::Outside)?;
    let mut relative: PathBuf = spelled.components().skip(depth(root)).collect();
    if relative.as_os_str().is_empty() {
        relative.push(".");
    }
    // A slash at the end says that a directory is meant, so it has to reach whoever opens the path.
    if path.ends_with('/') || path.ends_with("/.") {
        relative.push("");
    }
    Ok(Beneath { root: root.clone(), relative })
}

/// What a path is not. The text goes on from a mention of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It has a NUL byte in it, which no path can have.
    #[error("has a NUL byte in it")]
    Nul,
    /// It does not begin with `/`.
    #[error("is not an absolute path")]
    NotAbsolute,
    /// It has a `..` in it, which cannot be followed by its spelling.
    #[error("has a `..` in it")]
    Parent,
    /// It is beneath none of the directories.
    #[error("is beneath no directory granted for it")]
    Outside,
}

fn arguments(grant: &ProcessGrant, args: &[String]) -> Result<Vec<PathArgument>, Misfit> {
    let mut paths = Vec::new();
    for (index, arg) in args.iter().enumerate() {
        let slot = slot(grant, index).ok_or(Misfit::TooMany(index))?;
        let path = argument(slot, arg).map_err(|fault| Misfit::Argument(index, fault))?;
        paths.extend(path.map(|(place, pass)| PathArgument { index, place, pass }));
    }
    match args.len() < fewest(grant) {
        true => Err(Misfit::TooFew(args.len())),
        false => Ok(paths),
    }
}

/// The slot for the argument at `index`; `None` where there may be none.
fn slot(grant: &ProcessGrant, index: usize) -> Option<&Slot> {
    match grant.args.split_last() {
        Some((Slot::Repeat { each, most, .. }, before)) if index >= before.len() => {
            (index - before.len() < *most).then_some(&**each)
        }
        _ => grant.args.get(index),
    }
}

/// The fewest arguments that a grant takes.
fn fewest(grant: &ProcessGrant) -> usize {
    match grant.args.split_last() {
        Some((Slot::Repeat { least, .. }, before)) => before.len() + least,
        _ => grant.args.len(),
    }
}

/// Whether an argument fits its slot, and where it has to be if the slot takes it for a path.
fn argument(slot: &Slot, arg: &str) -> Result<Option<(Beneath, Option<PassedAs>)>, String> {
    if arg.contains('\0') {
        return Err("has a NUL byte in it".to_owned());
    }
    let fits = match slot {
        Slot::Literal(word) => arg == word,
        Slot::Int { min, max } => whole_number(arg).is_some_and(|number| (*min..=*max).contains(&number)),
        Slot::OneOf(words) => words.iter().any(|word| word == arg),
        Slot::PathUnder { .. } | Slot::Any if arg.starts_with('-') => {
            return Err("begins with `-`, as options do".to_owned());
        }
        Slot::PathUnder { roots, pass } => {
            return beneath(arg, roots).map(|place| Some((place, *pass))).map_err(|fault| fault.to_string());
        }
        Slot::Any => true,
        Slot::Repeat { each, .. } => return argument(each, arg),
    };
    if fits {
        return Ok(None);
    }
    Err(match slot {
        Slot::Int { min, max } => format!("is not a whole number from {min} to {max}"),
        _ => "is not a word granted for it".to_owned(),
    })
}

/// Reads a number in its one plain spelling. A program may take `+5` or `007` for something else than 5 and 7.
pub fn whole_number(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(args: Vec<Slot>) -> ProcessGrant {
        ProcessGrant { program: "/bin/p".into(), args }
    }

    fn literal(word: &str) -> Slot {
        Slot::Literal(word.to_owned())
    }

    fn fit(grants: &[ProcessGrant], args: &[&str]) -> Result<Vec<PathArgument>, Misfit> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        spawn(grants, "/bin/p", &args).map(|fit| fit.paths).map_err(|unfit| unfit.misfit)
    }

    fn under(names: &[&str]) -> Slot {
        Slot::PathUnder { roots: roots(names), pass: None }
    }

    /// The fault of `arg` in `slot`; `None` when it fits.
    fn fault(slot: &Slot, arg: &str) -> Option<String> {
        argument(slot, arg).err()
    }

    fn roots(roots: &[&str]) -> Vec<PathBuf> {
        roots.iter().map(PathBuf::from).collect()
    }

    #[track_caller]
    fn check_place(path: &str, granted: &[&str], root: &str, relative: &str) {
        let place = beneath(path, &roots(granted)).unwrap();
        let found = (place.root.to_str().unwrap(), place.relative.to_str().unwrap());
        assert_eq!(found, (root, relative), "{path}");
    }

    #[test]
    fn a_program_is_its_spelling() {
        let grants = [grant(vec![])];
        let none = Err(Unfit { closest: None, misfit: Misfit::Program });
        assert_eq!(spawn(&grants, "/bin/p", &[]), Ok(Fit { rule: 0, paths: vec![] }));
        for other in ["p", "/bin/p/", "/bin//p", "/bin/./p", "/bin/q", "/bin/p2", ""] {
            assert_eq!(spawn(&grants, other, &[]), none, "{other}");
        }
        assert_eq!(spawn(&[], "/bin/p", &[]), none);
    }

    #[test]
    fn every_slot_takes_one_argument() {
        let grants = [grant(vec![literal("-n"), Slot::Any])];
        assert_eq!(fit(&grants, &["-n", "x"]), Ok(vec![]));
        assert_eq!(fit(&grants, &["-n"]), Err(Misfit::TooFew(1)));
        assert_eq!(fit(&grants, &[]), Err(Misfit::TooFew(0)));
        assert_eq!(fit(&grants, &["-n", "x", "y"]), Err(Misfit::TooMany(2)));
        assert_eq!(fit(&[grant(vec![])], &["x"]), Err(Misfit::TooMany(0)));
    }

    #[test]
    fn the_first_grant_that_fits_wins() {
        let under = |root: &str| grant(vec![under(&[root])]);
        let paths = fit(&[under("/x"), under("/a"), under("/a/b")], &["/a/b/c"]).unwrap();
        assert_eq!(paths[0].index, 0);
        assert_eq!(paths[0].place, beneath("/a/b/c", &roots(&["/a"])).unwrap());
    }

    #[test]
    fn the_closest_grant_explains() {
        let grants = [
            grant(vec![literal("a")]),
            grant(vec![literal("b"), literal("c"), Slot::Int { min: 1, max: 2 }]),
            grant(vec![literal("b"), literal("d")]),
        ];
        assert_eq!(
            fit(&grants, &["b", "c", "3"]),
            Err(Misfit::Argument(2, "is not a whole number from 1 to 2".to_owned()))
        );
        assert_eq!(fit(&grants, &["b", "d", "3"]), Err(Misfit::TooMany(2)));
        assert!(matches!(fit(&grants, &["x"]), Err(Misfit::Argument(0, _))));
        let args = ["b", "d", "3"].map(str::to_owned);
        assert_eq!(spawn(&grants, "/bin/p", &args).unwrap_err().closest, Some(2));
        assert_eq!(spawn(&grants, "/bin/p", &args[..2]).unwrap().rule, 2);
    }

    #[test]
    fn the_last_slot_may_repeat() {
        let tail = |least, most| Slot::Repeat { each: Box::new(under(&["/a"])), least, most };
        let grants = [grant(vec![literal("-x"), tail(1, 3)])];
        let paths = fit(&grants, &["-x", "/a/1", "/a/2", "/a/3"]).unwrap();
        assert_eq!(paths.iter().map(|path| path.index).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(fit(&grants, &["-x", "/a/1", "/a/2", "/a/3", "/a/4"]), Err(Misfit::TooMany(4)));
        assert_eq!(fit(&grants, &["-x"]), Err(Misfit::TooFew(1)));
        assert_eq!(fit(&grants, &[]), Err(Misfit::TooFew(0)));
        for bad in ["/b/2", "-y"] {
            assert!(matches!(fit(&grants, &["-x", "/a/1", bad]), Err(Misfit::Argument(2, _))), "{bad}");
        }
        let grants = [grant(vec![tail(0, 1)])];
        assert_eq!(fit(&grants, &[]), Ok(vec![]));
        assert_eq!(fit(&grants, &["/a/1"]).unwrap().len(), 1);
        assert_eq!(fit(&grants, &["/a/1", "/a/2"]), Err(Misfit::TooMany(1)));
    }

    #[test]
    fn a_literal_and_a_choice_are_exact() {
        assert_eq!(fault(&literal("-n"), "-n"), None);
        assert!(fault(&literal("-n"), "-N").is_some());
        assert!(fault(&literal("-n"), "-n ").is_some());
        let choice = Slot::OneOf(vec!["-a".to_owned(), "b".to_owned()]);
        assert_eq!(fault(&choice, "-a"), None);
        assert_eq!(fault(&choice, "b"), None);
        assert!(fault(&choice, "-ab").is_some());
        assert!(fault(&choice, "").is_some());
    }

    #[test]
    fn a_number_has_one_spelling_and_its_range() {
        let positive = Slot::Int { min: 1, max: 1000 };
        for good in ["1", "10", "1000"] {
            assert_eq!(fault(&positive, good), None, "{good}");
        }
        for bad in ["0", "1001", "-1", "+5", "05", " 5", "5 ", "5.0", "", "-", "0x5", "५", "99999999999999999999"] {
            assert_eq!(fault(&positive, bad).as_deref(), Some("is not a whole number from 1 to 1000"), "{bad}");
        }
        let signed = Slot::Int { min: -5, max: 5 };
        assert_eq!(fault(&signed, "-5"), None);
        assert_eq!(fault(&signed, "0"), None);
        assert!(fault(&signed, "-0").is_some());
        assert!(fault(&signed, "-6").is_some());
        let every = Slot::Int { min: i64::MIN, max: i64::MAX };
        assert_eq!(fault(&every, &i64::MIN.to_string()), None);
    }

    #[test]
    fn open_slots_take_no_options() {
        for slot in [Slot::Any, under(&["/"])] {
            for option in ["-", "-f", "--help"] {
                assert_eq!(fault(&slot, option).as_deref(), Some("begins with `-`, as options do"), "{option}");
            }
        }
        for word in ["", "x", ";id", "a\nb", "/etc/passwd"] {
            assert_eq!(fault(&Slot::Any, word), None, "{word}");
        }
    }

    #[test]
    fn no_slot_takes_a_nul_byte() {
        let word = "a\0b".to_owned();
        for slot in [Slot::Any, Slot::Literal(word.clone()), Slot::OneOf(vec![word.clone()])] {
            assert_eq!(fault(&slot, &word).as_deref(), Some("has a NUL byte in it"), "{slot:?}");
        }
    }

    #[test]
    fn a_path_is_found_beneath_its_deepest_root() {
        check_place("/var/log/a", &["/var/log"], "/var/log", "a");
        check_place("/var/log/a/b", &["/var/log"], "/var/log", "a/b");
        check_place("/var/log/a/b", &["/", "/var/log/a", "/var"], "/var/log/a", "b");
        check_place("/var/log", &["/var/log/"], "/var/log/", ".");
        check_place("/var//./log///a/./b", &["/var/log"], "/var/log", "a/b");
        check_place("/etc/hostname", &["/"], "/", "etc/hostname");
        check_place("/etc/...", &["/etc"], "/etc", "...");
    }

    #[test]
    fn a_slash_at_the_end_is_kept() {
        check_place("/etc/hostname/", &["/etc"], "/etc", "hostname/");
        check_place("/etc/hostname/.", &["/etc"], "/etc", "hostname/");
        check_place("/etc/", &["/etc"], "/etc", "./");
    }

    #[test]
    fn other_paths_are_faulted() {
        let fault = |path: &str| beneath(path, &roots(&["/var/log", "/srv"])).unwrap_err();
        for path in ["/var/logs/a", "/var/lo", "/", "/etc/passwd", "/VAR/LOG/a"] {
            assert_eq!(fault(path), PathFault::Outside, "{path}");
        }
        for path in ["", "a", "./var/log/a", "var/log/a", "~/x"] {
            assert_eq!(fault(path), PathFault::NotAbsolute, "{path}");
        }
        for path in ["/var/log/../x", "/var/log/..", "/var/log/a/../b", "/../var/log"] {
            assert_eq!(fault(path), PathFault::Parent, "{path}");
        }
        assert_eq!(fault("/var/log/a\0"), PathFault::Nul);
        assert_eq!(beneath("/a", &[]), Err(PathFault::Outside));
    }
}
