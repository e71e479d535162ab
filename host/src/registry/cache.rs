//! Compiled code on disk, in a directory that only the host can enter.
//!
//! An entry is named by the BLAKE3 of the `.wasm` it was made from and by what makes code of two hosts interchangeable.
//! Beside it lies the BLAKE3 of the code itself: an entry whose bytes are not the ones that were written is thrown away
//! and made again, and never executed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::compile::compile;

/// How the names of entries begin that are being made.
const FRESH: &str = ".compiling-";
/// Age from which on nobody can be making one any more: longer than a compilation may take.
const ABANDONED: Duration = Duration::from_secs(600);

/// The directory of compiled code.
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Opens the directory, making it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or when anybody but the host's user could write into it: code from there is executed.
    pub fn open(directory: &Path) -> Result<Cache, String> {
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
                "is open to others (mode {:o}); run: chmod 700 {}",
                metadata.permissions().mode() & 0o777,
                directory.display()
            )));
        }
        let cache = Cache { directory: directory.to_owned() };
        cache.sweep();
        Ok(cache)
    }

    /// The component of a `.wasm` file, compiled at most once.
    ///
    /// # Errors
    /// The reason why the file does not compile, or why the disk does not take its code.
    pub fn load_or_compile(&self, engine: &Engine, hash: blake3::Hash, wasm: &[u8]) -> Result<Component, String> {
        let entry = self.entry(engine, hash);
        match entry.load(engine) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(entry = %entry.code.display(), %error, "cache entry is damaged; compiling again");
                entry.remove();
            }
        }
        let fresh = tempfile::Builder::new()
            .prefix(FRESH)
            .tempfile_in(&self.directory)
            .map_err(|error| format!("cannot be cached: {error}"))?
            .into_temp_path();
        compile(wasm, &fresh)?;
        entry.store(fresh).map_err(|error| format!("cannot be cached: {error}"))?;
        match entry.load(engine) {
            Ok(Some(component)) => Ok(component),
            Ok(None) => Err("vanished from the cache".to_owned()),
            Err(error) => Err(format!("compiled to code that does not load: {error}")),
        }
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

    fn entry(&self, engine: &Engine, hash: blake3::Hash) -> Entry {
        let mut compatible = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatible);
        let name = format!("{}-{:016x}", hash.to_hex(), compatible.finish());
        Entry { code: self.directory.join(format!("{name}.cwasm")), sum: self.directory.join(format!("{name}.b3")) }
    }
}

/// One compiled component.
struct Entry {
    code: PathBuf,
    sum: PathBuf,
}

impl Entry {
    /// Loads the entry, if it is there. An error means that it is damaged.
    #[expect(unsafe_code, reason = "the one place where compiled code enters the host")]
    fn load(&self, engine: &Engine) -> Result<Option<Component>, String> {
        let sum = match std::fs::read_to_string(&self.sum) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let code = std::fs::read(&self.code).map_err(|error| error.to_string())?;
        if blake3::hash(&code).to_hex().as_str() != sum {
            return Err("its bytes are not the ones that were written".to_owned());
        }
        drop(code);
        // SAFETY: the file was written by this host's compiler: its bytes are the ones whose sum was stored beside it,
        // and both lie in a directory that nobody but the host's user can write into, checked when it was opened. Nothing
        // changes an entry in place, it is only replaced by a rename, so the mapping stays what it is.
        let component = unsafe { Component::deserialize_file(engine, &self.code) };
        component.map(Some).map_err(|error| format!("{error:#}"))
    }

    /// Puts a freshly compiled file in place. The sum comes last, for an entry without it does not count.
    fn store(&self, fresh: tempfile::TempPath) -> io::Result<()> {
        let sum = blake3::hash(&std::fs::read(&fresh)?);
        fresh.persist(&self.code).map_err(|error| error.error)?;
        let directory = self.sum.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
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
