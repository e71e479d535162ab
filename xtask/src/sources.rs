//! The sources in a directory, without what builds have left between them.

use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

use crate::files::{failed, list};
use crate::shell::Result;

/// Names that the languages' tools give to what they make.
const PRODUCTS: &[&str] = &["node_modules", "build", "target", ".venv", "__pycache__"];
/// The ending of what they make in the end.
const PRODUCT_ENDING: &str = "wasm";
/// For people, so nothing that is built depends on it but the commands in it.
const FOR_PEOPLE: &str = "README.md";

/// Copies a directory's sources to another, over what is there.
pub fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).map_err(|error| failed("create", to, error))?;
    each(from, &mut |name, path| {
        let place = to.join(name);
        if path.is_dir() {
            return copy(path, &place);
        }
        fs::copy(path, &place).map(drop).map_err(|error| failed("write", &place, error))
    })
}

/// Adds a directory's sources, or one file, to a hash.
pub fn hash(path: &Path, hasher: &mut impl Hasher) -> Result {
    if path.is_dir() {
        return each(path, &mut |name, path| {
            if name == FOR_PEOPLE {
                return Ok(());
            }
            name.hash(hasher);
            hash(path, hasher)
        });
    }
    fs::read(path).map_err(|error| failed("read", path, error))?.hash(hasher);
    Ok(())
}

/// Calls `act` with the name and the path of everything in a directory that is no product, sorted.
fn each(dir: &Path, act: &mut dyn FnMut(&str, &Path) -> Result) -> Result {
    for path in list(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_product =
            PRODUCTS.contains(&&*name) || path.extension().is_some_and(|extension| extension == PRODUCT_ENDING);
        if !is_product {
            act(&name, &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn hashed(path: &Path) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash(path, &mut hasher).unwrap();
        hasher.finish()
    }

    #[test]
    fn products_are_passed_over() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::write(from.join("src/app.py"), "one").unwrap();
        let before = hashed(&from);
        for product in ["node_modules", "build", ".venv"] {
            fs::create_dir_all(from.join(product)).unwrap();
            fs::write(from.join(product).join("x"), "x").unwrap();
        }
        fs::write(from.join("app.wasm"), "x").unwrap();
        assert_eq!(hashed(&from), before);
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
        assert_eq!(fs::read(to.join("src/app.py")).unwrap(), b"one");

        fs::write(from.join("src/app.py"), "two").unwrap();
        assert_ne!(hashed(&from), before);
    }
}
