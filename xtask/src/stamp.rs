//! Not building twice: what was built is remembered with a hash of what it was built from.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::Path;

use crate::shell::Result;
use crate::sources;

const STAMP: &str = ".built-from";

/// Has `build` fill the directory `place`, which is empty before, unless that was done already with the same `inputs`, which
/// are files and directories, and the same `commands`.
pub fn build_once(place: &Path, inputs: &[&Path], commands: &str, build: impl FnOnce() -> Result) -> Result {
    let mut hasher = DefaultHasher::new();
    commands.hash(&mut hasher);
    for input in inputs {
        sources::hash(input, &mut hasher)?;
    }
    let hash = format!("{:016x}", hasher.finish());

    let stamp = place.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|built_from| built_from == hash) {
        return Ok(());
    }
    make_empty(place)?;
    build()?;
    fs::write(&stamp, hash).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

/// Makes `place` an empty directory, whatever was in it.
pub fn make_empty(place: &Path) -> Result {
    let failed = |error| format!("cannot empty {}: {error}", place.display());
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => fs::create_dir_all(place).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn built_again_only_when_something_changed() {
        let temp = tempfile::tempdir().unwrap();
        let (source, place) = (temp.path().join("source"), temp.path().join("place"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("app.py"), "one").unwrap();

        let builds = Cell::new(0);
        let build = |commands: &str| {
            build_once(&place, &[&source], commands, || {
                assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "it begins with nothing");
                builds.set(builds.get() + 1);
                fs::write(place.join("app.wasm"), "built").map_err(|error| error.to_string())
            })
            .unwrap();
            builds.get()
        };
        assert_eq!(build("make"), 1);
        assert_eq!(build("make"), 1, "nothing has changed");
        fs::write(source.join("app.py"), "two").unwrap();
        assert_eq!(build("make"), 2, "the source has changed");
        assert_eq!(build("make all"), 3, "the commands have changed");
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(build("make all"), 4, "the product is gone");
    }

    #[test]
    fn a_build_that_failed_is_tried_again() {
        let temp = tempfile::tempdir().unwrap();
        let place = temp.path().join("place");
        build_once(&place, &[], "", || Err("no".to_owned())).unwrap_err();
        let built = Cell::new(false);
        build_once(&place, &[], "", || {
            built.set(true);
            Ok(())
        })
        .unwrap();
        assert!(built.get());
    }
}
