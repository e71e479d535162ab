//! The projects that `wasmline new` writes, as they stand in this repository: `guest-commands/templates/`, and `wit/`.

/// A file of a project. In its path and in its contents `{{name}}` and `{{crate}}` are to be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Where it goes, relative to the project.
    pub path: &'static str,
    /// What it holds.
    pub contents: &'static [u8],
}

/// The files of a directory of this repository. They are listed one by one, so that what somebody has built in a template
/// never gets into this program, and cargo notices when one of them changes.
macro_rules! files {
    ($directory:literal, [$($path:literal),+ $(,)?]) => {
        &[$(File { path: $path, contents: include_bytes!(concat!("../../../", $directory, "/", $path)) }),+]
    };
}

pub const RUST: &[File] = files!(
    "guest-commands/templates/rust",
    [".cargo/config.toml", ".gitignore", "Cargo.toml", "README.md", "src/lib.rs", "{{name}}.toml"]
);

pub const C: &[File] = files!(
    "guest-commands/templates/c",
    [
        ".gitignore",
        "Makefile",
        "README.md",
        "bindings/command.c",
        "bindings/command.h",
        "bindings/command_component_type.o",
        "command.c",
        "{{name}}.toml",
    ]
);

pub const JS: &[File] =
    files!("guest-commands/templates/js", [".gitignore", "README.md", "package.json", "{{name}}.js", "{{name}}.toml"]);

pub const PYTHON: &[File] = files!(
    "guest-commands/templates/python",
    [".gitignore", "README.md", "app.py", "requirements.txt", "{{name}}.toml"]
);

/// The host's interfaces, which go into the `wit/` of every project.
pub const WIT: &[File] = files!(
    "wit",
    [
        "catalog.wit",
        "connection.wit",
        "deps/wasi-config-0.2.0-rc.1/store.wit",
        "deps/wasi-config-0.2.0-rc.1/world.wit",
        "digest.wit",
        "log.wit",
        "process.wit",
        "tasks.wit",
        "world.wit",
    ]
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// The files beneath a directory of the repository that are sources, as git tells them from products.
    fn sources(directory: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // An empty repository beside the sources knows nothing but their `.gitignore`, so this holds for a tree without
        // a repository of its own as well.
        let empty = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE").env("GIT_WORK_TREE", &root);
            command.arg("--git-dir").arg(empty.path()).args(args).current_dir(&root);
            let output = command.output().expect("git runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "--quiet"]);
        let listed = git(&["ls-files", "-z", "--others", "--exclude-standard", "--", directory]);
        let inside = |path: &str| path.strip_prefix(&format!("{directory}/")).map(str::to_owned);
        listed.split_terminator('\0').filter_map(inside).collect()
    }

    #[test]
    fn every_source_is_in_the_lists_and_nothing_else() {
        for (directory, files) in [
            ("guest-commands/templates/rust", RUST),
            ("guest-commands/templates/c", C),
            ("guest-commands/templates/js", JS),
            ("guest-commands/templates/python", PYTHON),
            ("wit", WIT),
        ] {
            let listed: BTreeSet<String> = files.iter().map(|file| file.path.to_owned()).collect();
            assert_eq!(listed, sources(directory), "{directory}");
        }
    }
}
