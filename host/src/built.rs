//! Where the guests lie that the unit tests run: `cargo xtask test` builds them, and says where.

use std::path::{Path, PathBuf};

/// The directories of the shipped commands and of the fixtures.
pub fn directories() -> [PathBuf; 2] {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    [("WASMLINE_TEST_COMMANDS", "commands"), ("WASMLINE_TEST_FIXTURES", "fixtures")]
        .map(|(variable, name)| std::env::var_os(variable).map_or_else(|| target.join(name), PathBuf::from))
}

/// The guest of this name.
#[track_caller]
pub fn guest(name: &str) -> PathBuf {
    let file = format!("{name}.wasm");
    let found = directories().map(|directory| directory.join(&file)).into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{file} is not built; run the tests with `cargo xtask test`"))
}
