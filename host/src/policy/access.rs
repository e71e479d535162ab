//! What a command may want of the machine, as it is explained, recorded, and granted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::denial::toml_string;

/// One thing that a command does with the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Access {
    /// It spawns a program.
    Process {
        /// The program's path.
        program: String,
        /// Its arguments, without its own name.
        args: Vec<String>,
    },
    /// It hashes a file.
    Digest {
        /// The file's path.
        path: String,
    },
    /// It finds a directory open.
    Directory {
        /// The directory, or something beneath it.
        path: String,
        /// Whether it changes anything there.
        write: bool,
    },
    /// It finds an environment variable.
    Variable {
        /// The variable's name.
        name: String,
    },
    /// It sees the tenant's running commands, or stops one.
    Tasks {
        /// Whether it stops one.
        stop: bool,
    },
}

impl Access {
    /// The narrowest grant that would allow it, as lines of TOML; `grants` is the table that it stands in.
    pub fn grant(&self, grants: &str) -> String {
        let (header, entries) = self.parts(grants);
        std::iter::once(header).chain(entries).collect::<Vec<_>>().join("\n")
    }

    /// The same in one line, as a message has it.
    pub fn line(&self) -> String {
        let (header, entries) = self.parts("grants");
        format!("{header} {}", entries.join(", "))
    }

    fn parts(&self, grants: &str) -> (String, Vec<String>) {
        match self {
            Access::Process { program, args } => {
                let args: Vec<String> = args.iter().map(|arg| toml_string(arg)).collect();
                let entries =
                    vec![format!("program = {}", toml_string(program)), format!("args = [{}]", args.join(", "))];
                (format!("[[{grants}.process]]"), entries)
            }
            Access::Digest { path } => {
                let directory = Path::new(path).parent().and_then(Path::to_str).unwrap_or("/");
                (format!("[{grants}.digest]"), vec![format!("read = [{}]", toml_string(directory))])
            }
            Access::Directory { path, write } => {
                let mut entries = vec![format!("path = {}", toml_string(path))];
                if *write {
                    entries.push("write = true".to_owned());
                }
                (format!("[[{grants}.directory]]"), entries)
            }
            Access::Tasks { stop } => {
                let key = if *stop { "stop" } else { "list" };
                (format!("[{grants}.tasks]"), vec![format!("{key} = true")])
            }
            Access::Variable { name } => {
                (format!("[{grants}.environment]"), vec![format!("{} = \"…\"", toml_string(name))])
            }
        }
    }
}
