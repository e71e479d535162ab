//! What a command may want of the machine, as it is explained, recorded, and granted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::denial::{Key, toml_string};

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
        /// What the command calls it, or something beneath it.
        path: String,
        /// Where it is on the machine, if it is known and is called something else there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
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
    /// Bytes of text in it.
    pub fn size(&self) -> usize {
        match self {
            Access::Process { program, args } => program.len() + args.iter().map(|arg| arg.len() + 4).sum::<usize>(),
            Access::Digest { path } => path.len(),
            Access::Directory { path, host, .. } => path.len() + host.as_ref().map_or(0, String::len),
            Access::Variable { name } => name.len(),
            Access::Tasks { .. } => 0,
        }
    }

    /// Whether any grant could allow it: all of them go by absolute paths.
    pub fn can_be_granted(&self) -> bool {
        match self {
            Access::Process { program: path, .. } | Access::Digest { path } | Access::Directory { path, .. } => {
                Path::new(path).is_absolute()
            }
            Access::Variable { .. } | Access::Tasks { .. } => true,
        }
    }

    /// The key in a table of grants under which such a grant stands together with others; `None` for the table itself.
    pub fn table(&self, key: Key) -> Option<&'static str> {
        match self {
            Access::Process { .. } => Some("process"),
            Access::Digest { .. } => Some("digest"),
            Access::Directory { .. } => Some("directory"),
            Access::Tasks { .. } => Some("tasks"),
            Access::Variable { .. } => (key == Key::Tenant).then_some("environment"),
        }
    }

    /// The narrowest grant that would allow it, as lines of TOML; `grants` is the table of the key that it stands in.
    pub fn grant(&self, key: Key, grants: &str) -> String {
        let (header, entries) = self.parts(key, grants);
        std::iter::once(header).chain(entries).collect::<Vec<_>>().join("\n")
    }

    /// The same in one line, as a message has it.
    pub fn line(&self, key: Key, grants: &str) -> String {
        let (header, entries) = self.parts(key, grants);
        format!("{header} {}", entries.join(", "))
    }

    fn parts(&self, key: Key, grants: &str) -> (String, Vec<String>) {
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
            Access::Directory { path, host, write } => {
                let mut entries = match (key, host) {
                    (Key::Tenant, Some(host)) if host != path => {
                        vec![format!("path = {}", toml_string(host)), format!("as = {}", toml_string(path))]
                    }
                    _ => vec![format!("path = {}", toml_string(path))],
                };
                if *write {
                    entries.push("write = true".to_owned());
                }
                (format!("[[{grants}.directory]]"), entries)
            }
            Access::Tasks { stop } => {
                let key = if *stop { "stop" } else { "list" };
                (format!("[{grants}.tasks]"), vec![format!("{key} = true")])
            }
            Access::Variable { name } => match key {
                // Its value is for the operator to say.
                Key::Tenant => (format!("[{grants}.environment]"), vec![format!("{} = \"\"", toml_string(name))]),
                Key::Sidecar => (format!("[{grants}]"), vec![format!("environment = [{}]", toml_string(name))]),
            },
        }
    }
}
