//! Matches an argument vector against the slots of a grant, one by one.

use super::{Beneath, PathSlot, Slot, place};

/// Why the arguments did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The argument that did not fit, counted from 0; how far the match came.
    pub(super) index: usize,
    /// What it should have been.
    pub(super) why: String,
}

/// Matches all arguments. Returns those that name files, for someone else to resolve.
pub(super) fn match_slots(slots: &[Slot], args: &[String]) -> Result<Vec<PathSlot>, Mismatch> {
    let mut paths = Vec::new();
    for (index, (slot, value)) in slots.iter().zip(args).enumerate() {
        match match_slot(slot, value) {
            Ok(None) => {}
            Ok(Some(place)) => paths.push(PathSlot { index, value: value.clone(), places: vec![place] }),
            Err(why) => return Err(Mismatch { index, why: format!("argument {} {why}", index + 1) }),
        }
    }
    if slots.len() != args.len() {
        let why = format!("takes {} arguments, not {}", slots.len(), args.len());
        return Err(Mismatch { index: slots.len().min(args.len()), why });
    }
    Ok(paths)
}

/// Matches one argument. The error completes "argument N …".
fn match_slot(slot: &Slot, value: &str) -> Result<Option<Beneath>, String> {
    if value.contains('\0') {
        return Err("has a NUL byte in it".to_owned());
    }
    match slot {
        Slot::Literal(text) if value == text => Ok(None),
        Slot::Literal(text) => Err(format!("must be {text:?}")),
        Slot::Int { min, max } => match plain_number(value) {
            Some(number) if (*min..=*max).contains(&number) => Ok(None),
            _ => Err(format!("must be a number from {min} to {max}")),
        },
        Slot::OneOf(words) if words.iter().any(|word| word == value) => Ok(None),
        Slot::OneOf(words) => Err(format!("must be one of {words:?}")),
        // What begins with a hyphen could be taken for an option, which was not granted.
        Slot::PathUnder(_) | Slot::Any if value.starts_with('-') => Err("must not begin with a hyphen".to_owned()),
        Slot::PathUnder(roots) => {
            place(roots, value).map(Some).ok_or_else(|| "is not beneath what is granted".to_owned())
        }
        Slot::Any => Ok(None),
    }
}

/// Reads a number as this host would write it: no sign but `-`, no blank, no leading zero. Programs read other spellings
/// each in their own way.
fn plain_number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

/// The grant that would allow exactly this, as TOML.
pub(super) fn line_that_allows(program: &str, args: &[String]) -> String {
    format!("[[grants.process]] program = {program:?}, args = {args:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(slot: &Slot, value: &str) -> bool {
        match_slots(std::slice::from_ref(slot), &[value.to_owned()]).is_ok()
    }

    #[test]
    fn numbers() {
        let slot = Slot::Int { min: -5, max: 1000 };
        for value in ["-5", "0", "10", "1000"] {
            assert!(fits(&slot, value), "{value}");
        }
        for value in ["-6", "1001", "+1", " 1", "1 ", "01", "0x1", "1e2", "", "-", "-0", "99999999999999999999999999"] {
            assert!(!fits(&slot, value), "{value}");
        }
    }

    #[test]
    fn options_pass_only_where_they_are_spelled_out() {
        assert!(fits(&Slot::Literal("-f".into()), "-f"));
        assert!(fits(&Slot::OneOf(vec!["-a".into(), "b".into()]), "-a"));
        assert!(!fits(&Slot::OneOf(vec!["-a".into()]), "-b"));
        assert!(!fits(&Slot::Any, "-f"));
        assert!(!fits(&Slot::Any, "--help"));
        assert!(fits(&Slot::Any, ";id"));
        assert!(fits(&Slot::Any, ""));
        assert!(!fits(&Slot::Any, "a\0b"));
        assert!(!fits(&Slot::PathUnder(vec!["/".into()]), "-f"));
    }

    #[test]
    fn paths_are_given_out_to_be_resolved() {
        let slots = [Slot::Literal("-n".into()), Slot::PathUnder(vec!["/var/log".into()])];
        let paths = match_slots(&slots, &["-n".into(), "/var/log/a/b".into()]).unwrap();
        assert_eq!(paths.len(), 1);
        assert_eq!((paths[0].index, &*paths[0].value), (1, "/var/log/a/b"));
        assert_eq!(paths[0].places[0].relative.to_str(), Some("a/b"));
        for path in ["/var/log/../x", "/var/logs/x", "var/log/x", "/etc/passwd"] {
            assert!(match_slots(&slots, &["-n".into(), path.into()]).is_err(), "{path}");
        }
    }

    #[test]
    fn the_number_of_arguments_is_exact() {
        let slots = [Slot::Any, Slot::Any];
        assert_eq!(match_slots(&slots, &["a".into()]).unwrap_err().why, "takes 2 arguments, not 1");
        assert!(match_slots(&slots, &["a".into(), "b".into(), "c".into()]).is_err());
        assert!(match_slots(&[], &[]).is_ok());
    }
}
