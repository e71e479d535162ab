//! Putting built commands into a directory that a running host may be watching.
//!
//! A file appears whole or not at all: it is written under a name that no host takes for a command, then renamed.
//! A file that has not changed is left alone, so that nothing is reloaded for no reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files::failed;
use crate::shell::Result;

/// Makes `dir` hold exactly the files given, each a copy of its source; whatever else it held is removed.
pub fn publish(dir: &Path, files: &BTreeMap<String, PathBuf>) -> Result {
    fs::create_dir_all(dir).map_err(|error| failed("create", dir, error))?;
    for (name, source) in files {
        put(dir, name, source)?;
    }
    let entries = fs::read_dir(dir).map_err(|error| failed("read", dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", dir, error))?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| files.contains_key(name));
        if !is_ours && entry.path().is_file() {
            fs::remove_file(entry.path()).map_err(|error| failed("remove", &entry.path(), error))?;
        }
    }
    Ok(())
}

fn put(dir: &Path, name: &str, source: &Path) -> Result {
    let bytes = fs::read(source).map_err(|error| failed("read", source, error))?;
    let place = dir.join(name);
    if fs::read(&place).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let unfinished = dir.join(format!(".{name}.part"));
    fs::write(&unfinished, bytes).map_err(|error| failed("write", &unfinished, error))?;
    fs::rename(&unfinished, &place).map_err(|error| failed("write", &place, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_directory_ends_up_with_exactly_the_given_files() {
        let temp = tempfile::tempdir().unwrap();
        let (source, place) = (temp.path().join("built.wasm"), temp.path().join("commands"));
        fs::create_dir(&place).unwrap();
        fs::write(place.join("gone.wasm"), "stale").unwrap();
        fs::write(place.join("echo.wasm"), "old").unwrap();
        fs::write(&source, "new").unwrap();

        let files = BTreeMap::from([("echo.wasm".to_owned(), source.clone())]);
        publish(&place, &files).unwrap();

        assert_eq!(list(&place), ["echo.wasm"]);
        assert_eq!(fs::read(place.join("echo.wasm")).unwrap(), b"new");
    }

    #[test]
    fn an_unchanged_file_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (source, place) = (temp.path().join("built.wasm"), temp.path().join("commands"));
        fs::write(&source, "same").unwrap();
        let files = BTreeMap::from([("echo.wasm".to_owned(), source)]);
        publish(&place, &files).unwrap();
        let before = fs::metadata(place.join("echo.wasm")).unwrap().modified().unwrap();
        publish(&place, &files).unwrap();
        assert_eq!(fs::metadata(place.join("echo.wasm")).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_missing_source_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let files = BTreeMap::from([("echo.wasm".to_owned(), temp.path().join("nowhere.wasm"))]);
        let error = publish(&temp.path().join("commands"), &files).unwrap_err();
        assert!(error.contains("nowhere.wasm"), "{error}");
    }
}
