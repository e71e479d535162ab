//! Not building twice: what was built is remembered with a hash of what it was built from.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::shell::Result;

/// Names that builds write beside their sources, and which therefore do not count as input.
const PRODUCTS: &[&str] = &["node_modules", "build", "target", "Cargo.lock", "__pycache__"];
const PRODUCT_ENDINGS: &[&str] = &["wasm", "o", "stamp"];

/// Builds what lies at, or is made in, `place`, unless it was built before from the same `inputs` and `also`.
/// `build` returns the file that it made; so does this.
pub fn build_once(
    place: &Path,
    inputs: &[&Path],
    also: &str,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    also.hash(&mut hasher);
    for input in inputs {
        add(&mut hasher, input)?;
    }
    let hash = format!("{:016x}", hasher.finish());

    let stamp = place.with_added_extension("stamp");
    if let Ok(text) = fs::read_to_string(&stamp)
        && let Some((built_from, product)) = text.split_once('\n')
        && built_from == hash
        && Path::new(product).is_file()
    {
        return Ok(product.into());
    }
    let product = build()?;
    if !product.is_file() {
        return Err(format!("the build left no {}", product.display()));
    }
    fs::write(&stamp, format!("{hash}\n{}", product.display()))
        .map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(product)
}

fn add(hasher: &mut DefaultHasher, path: &Path) -> Result {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    if !path.is_dir() {
        path.file_name().hash(hasher);
        fs::read(path).map_err(failed)?.hash(hasher);
        return Ok(());
    }
    let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().map_err(failed)?;
    entries.sort();
    for entry in entries {
        if !is_product(&entry) {
            add(hasher, &entry)?;
        }
    }
    Ok(())
}

/// The C bindings have one object file that is a source; `wit-bindgen` makes it together with the rest of them.
fn is_product(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    PRODUCTS.contains(&&*name) || PRODUCT_ENDINGS.contains(&&*ending)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn built_again_only_when_an_input_changed() {
        let temp = tempfile::tempdir().unwrap();
        let (place, source) = (temp.path().join("greet"), temp.path().join("greet/app.py"));
        let product = place.join("greet.wasm");
        fs::create_dir(&place).unwrap();
        fs::write(&source, "one").unwrap();

        let builds = Cell::new(0);
        let build = || {
            let built = build_once(&place, &[&place], "tool 1", || {
                builds.set(builds.get() + 1);
                fs::write(&product, "built").unwrap();
                Ok(product.clone())
            });
            assert_eq!(built.unwrap(), product);
            builds.get()
        };
        assert_eq!(build(), 1);
        assert_eq!(build(), 1, "nothing has changed");
        fs::write(&source, "two").unwrap();
        assert_eq!(build(), 2, "the source has changed");
        fs::remove_file(&product).unwrap();
        assert_eq!(build(), 3, "the product is gone");
    }

    #[test]
    fn a_build_that_leaves_nothing_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let error = build_once(&temp.path().join("x"), &[], "", || Ok(temp.path().join("x.wasm"))).unwrap_err();
        assert!(error.contains("x.wasm"), "{error}");
    }
}
