//! Where things are in the repository, and where builds leave them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::Result;

/// The target that guests are built for. Its linker makes components.
pub const WASM_TARGET: &str = "wasm32-wasip2";

/// The target of programs that are built as core modules, which the host adapts.
pub const WASM_TARGET_PREVIEW_1: &str = "wasm32-wasip1";

pub struct Tree {
    root: PathBuf,
    /// `CARGO_TARGET_DIR`, made absolute because cargo runs in two directories here.
    target_override: Option<PathBuf>,
}

impl Tree {
    pub fn find() -> Result<Tree> {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().ok_or("xtask is not inside the repository")?.to_owned();
        let target_override = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => {
                Some(std::path::absolute(dir).map_err(|error| format!("CARGO_TARGET_DIR: {error}"))?)
            }
            _ => None,
        };
        Ok(Tree { root, target_override })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn guests(&self) -> PathBuf {
        self.root.join("guest-commands")
    }

    /// Where the shipped commands lie, ready to be served.
    pub fn commands(&self) -> PathBuf {
        self.target().join("commands")
    }

    /// Where the guests of the test suite lie.
    pub fn fixtures(&self) -> PathBuf {
        self.target().join("fixtures")
    }

    /// Where the commands in other languages lie, which are for the tests too.
    pub fn languages(&self) -> PathBuf {
        self.target().join("languages")
    }

    /// Where the programs lie that were not written for wasmline. They are for the tests as well.
    pub fn third_party(&self) -> PathBuf {
        self.target().join("third-party")
    }

    pub fn host_binary(&self) -> PathBuf {
        self.target().join("release/wasmline")
    }

    /// The host that `serve` runs, which is built sooner.
    pub fn served_binary(&self) -> PathBuf {
        self.target().join("serve/wasmline")
    }

    /// Where the host is built by what a run of it has shown.
    pub fn profiled(&self) -> PathBuf {
        self.target().join("profiled")
    }

    pub fn bench_binary(&self) -> PathBuf {
        self.target().join("release/wasmline-bench")
    }

    /// Where the bench keeps what it needs, and leaves what it finds.
    pub fn bench_output(&self) -> PathBuf {
        self.target().join("bench")
    }

    /// The host as `cargo test` builds and tests it.
    pub fn tested_host(&self) -> PathBuf {
        self.target().join("debug/wasmline")
    }

    /// Where cargo leaves the guests it has built.
    pub fn guest_output(&self) -> PathBuf {
        let target = self.target_override.clone().unwrap_or_else(|| self.guests().join("target"));
        target.join(WASM_TARGET).join("release")
    }

    /// Cargo in the host's workspace.
    pub fn cargo(&self) -> Command {
        self.cargo_in(&self.root)
    }

    /// Cargo in the guests' workspace.
    pub fn guest_cargo(&self) -> Command {
        self.cargo_in(&self.guests())
    }

    fn cargo_in(&self, dir: &Path) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(dir);
        if let Some(target) = &self.target_override {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }

    fn target(&self) -> PathBuf {
        self.target_override.clone().unwrap_or_else(|| self.root.join("target"))
    }
}
