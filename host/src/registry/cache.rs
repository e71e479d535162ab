//! Compiled code on disk, in a directory that only the host can enter.
//!
//! An entry is named by the BLAKE3 of the `.wasm` it was made from and by what makes code of two hosts interchangeable.
//! Beside it lies the BLAKE3 of the code itself: an entry whose bytes are not the ones that were written is thrown away
//! and made again, and never executed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compile::{Fault, Form, compile};

/// How code is made of a file, besides by the engine: raised whenever `adapt.rs` or `unshim.rs` makes something else of the
/// same file, for code that an older host has made of it is then not what this one would run.
const MADE_BY: u32 = 6;
/// How the names of entries begin that are being made.
const FRESH: &str = ".compiling-";
/// Age from which on nobody can be making one any more: longer than a compilation may take.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The directory of compiled code.
pub struct Cache {
    directory: PathBuf,
    /// Bytes of code that it may hold.
    bound: u64,
    /// Which code of a file is looked for, and made: each has an entry of its own.
    form: Form,
}

impl Cache {
    /// Opens the directory, making it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or when anybody but the host's user could write into it: code from there is executed.
    pub fn open(directory: &Path, bound: u64, form: Form) -> Result<Cache, String> {
        make_private(directory)?;
        let cache = Cache { directory: directory.to_owned(), bound, form };
        cache.sweep();
        Ok(cache)
    }

    /// The compiled component of a `.wasm` file with this content, if it is there. A damaged entry is thrown away.
    ///
    /// # Errors
    /// When the engine does not take the code, whole as it is: it would need more than the host has for one component. Or
    /// when the machine has no room for it at present.
    pub fn load(&self, engine: &Engine, hash: blake3::Hash) -> Result<Option<Component>, Fault> {
        let entry = self.entry(engine, hash);
        match entry.is_whole() {
            Ok(true) => entry.load(engine).map(Some),
            Ok(false) => Ok(None),
            // The machine's want of something is no fault of the entry's.
            Err(error) if is_passing(&error) => Err(Fault::Machine(format!("its code cannot be read: {error}"))),
            Err(error) => {
                tracing::warn!(entry = %entry.code.display(), %error, "cache entry is damaged; compiling again");
                entry.remove();
                Ok(None)
            }
        }
    }

    /// Whether there is an entry for a file with this content. Loading it may yet show that it is damaged.
    pub fn has(&self, engine: &Engine, hash: blake3::Hash) -> bool {
        self.entry(engine, hash).sum.exists()
    }

    /// Compiles a `.wasm` file, whose content has this hash, into the cache. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The reason why the file does not compile, or why the disk does not take its code.
    pub fn compile(&self, engine: &Engine, hash: blake3::Hash, wasm: &[u8]) -> Result<(), Fault> {
        let disk = |error: io::Error| Fault::Machine(format!("its code cannot be stored: {error}"));
        let fresh = match fresh_in(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has emptied the place where caches are.
                make_private(&self.directory).map_err(Fault::Machine)?;
                fresh_in(&self.directory)
            }
            made => made,
        };
        let fresh = fresh.map_err(disk)?.into_temp_path();
        compile(wasm, self.form, &fresh)?;
        let entry = self.entry(engine, hash);
        entry.store(fresh).map_err(disk)?;
        self.make_room(&entry);
        Ok(())
    }

    /// Removes what a host that was killed left half-made.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let abandoned = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if entry.file_name().as_encoded_bytes().starts_with(FRESH.as_bytes())
                && abandoned().is_some_and(|age| age > ABANDONED)
            {
                // Another host may have been faster; either way it is gone.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the entries that were not used for the longest time until the rest fits the bound. Code that is loaded stays
    /// loaded: the mapping outlives its name.
    fn make_room(&self, newest: &Entry) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        let mut known: Vec<(SystemTime, u64, Entry)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), Entry::at(&entry.path())))
            })
            .collect();
        known.sort_by_key(|(used, _, _)| *used);
        let mut total: u64 = known.iter().map(|(_, size, _)| size).sum();
        for (_, size, entry) in known {
            if total <= self.bound {
                return;
            }
            if entry.code != newest.code {
                entry.remove();
                total -= size;
            }
        }
    }

    fn entry(&self, engine: &Engine, hash: blake3::Hash) -> Entry {
        let mut compatible = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatible);
        (MADE_BY, self.form).hash(&mut compatible);
        let name = format!("{}-{:016x}", hash.to_hex(), compatible.finish());
        Entry::at(&self.directory.join(format!("{name}.cwasm")))
    }
}

/// One compiled component.
struct Entry {
    code: PathBuf,
    sum: PathBuf,
}

impl Entry {
    /// The entry whose code lies at `code`.
    fn at(code: &Path) -> Entry {
        Entry { code: code.to_owned(), sum: code.with_extension("b3") }
    }

    /// Whether the entry is there, with the bytes that were written. An error means that it is damaged.
    fn is_whole(&self) -> io::Result<bool> {
        let sum = match std::fs::read_to_string(&self.sum) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if hash_of(&self.code)?.to_hex().as_str() != sum {
            return Err(io::Error::other("its bytes are not the ones that were written"));
        }
        // Its age is how long ago it was used; a file system that does not keep it makes the cache less clever, no more.
        if let Ok(file) = std::fs::File::open(&self.code) {
            #[expect(clippy::disallowed_methods, reason = "it is held against the times of other files")]
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(true)
    }

    /// Loads the entry, which must be whole.
    #[expect(unsafe_code, reason = "the one place where compiled code enters the host")]
    fn load(&self, engine: &Engine) -> Result<Component, Fault> {
        // SAFETY: the file was written by this host's compiler: its bytes are the ones whose sum was stored beside it,
        // and both lie in a directory that nobody but the host's user can write into, checked when it was opened. Nothing
        // changes an entry in place, it is only replaced by a rename, so the mapping stays what it is.
        let component = unsafe { Component::deserialize_file(engine, &self.code) };
        component.map_err(|error| match error.chain().any(|cause| cause.is::<io::Error>() || cause.is::<Errno>()) {
            true => Fault::Machine(format!("its code cannot be loaded: {error:#}")),
            false => Fault::File(format!("is more than this host runs: {error:#}")),
        })
    }

    /// Puts a freshly compiled file in place. The sum comes last, for an entry without it does not count.
    fn store(&self, fresh: tempfile::TempPath) -> io::Result<()> {
        let sum = hash_of(&fresh)?;
        fresh.persist(&self.code).map_err(|error| error.error)?;
        let directory = self.sum.parent().unwrap_or(Path::new("."));
        let mut file = fresh_in(directory)?;
        io::Write::write_all(&mut file, sum.to_hex().as_bytes())?;
        file.persist(&self.sum).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes what is there; what cannot be removed is replaced by the next store.
    fn remove(&self) {
        let _ = std::fs::remove_file(&self.sum);
        let _ = std::fs::remove_file(&self.code);
    }
}

/// Makes a directory that nobody but the host's user can read or change, unless it is there.
///
/// # Errors
/// When it cannot be made, or is open to others; the text says what to do.
fn make_private(directory: &Path) -> Result<(), String> {
    let complain = |what: String| format!("cache directory {}: {what}", directory.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| complain(format!("cannot be made: {error}")))?;
    let metadata = std::fs::metadata(directory).map_err(|error| complain(error.to_string()))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(complain(format!("belongs to user {}, not to the host's user {user}", metadata.uid())));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(complain(format!(
            "is open to others (mode {:o}); name a directory of the host's own, or if this one is, run: chmod 700 {}",
            metadata.permissions().mode() & 0o777,
            directory.display()
        )));
    }
    Ok(())
}

/// A new file in the cache, which is swept away where nobody came to give it its name.
fn fresh_in(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(FRESH).tempfile_in(directory)
}

/// Whether reading may well succeed a while later.
fn is_passing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR))
}

/// The BLAKE3 of a file, which is read piece by piece: code may have hundreds of MiB.
fn hash_of(file: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file)?)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Path, name: &str, size: usize, age: u64) -> PathBuf {
        let path = directory.join(format!("{name}.cwasm"));
        std::fs::write(&path, vec![0; size]).unwrap();
        std::fs::write(path.with_extension("b3"), "").unwrap();
        #[expect(clippy::disallowed_methods, reason = "it is held against the times of other files")]
        let used = SystemTime::now() - Duration::from_secs(age);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        path
    }

    #[test]
    fn the_longest_unused_go_first() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let cache = Cache::open(directory.path(), 250, Form::Usual).unwrap();
        let [old, middle, new] =
            [("old", 30), ("middle", 20), ("new", 10)].map(|(name, age)| put(directory.path(), name, 100, age));
        cache.make_room(&Entry::at(&new));
        assert!(!old.exists() && !old.with_extension("b3").exists());
        assert!(middle.exists() && new.exists());
        // The newest stays even where it alone is too large.
        let huge = put(directory.path(), "huge", 1000, 0);
        cache.make_room(&Entry::at(&huge));
        assert!(huge.exists() && !middle.exists() && !new.exists());
    }

    #[test]
    fn a_directory_that_is_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
        let error = Cache::open(directory.path(), 1, Form::Usual).err().unwrap();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
