//! What a command may want of the machine, as it is explained, recorded, and granted.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::denial::{Key, toml_string};

const NOT_ABSOLUTE: &str = "no grant allows a path that is not absolute";
const NOT_PLAIN: &str = "no grant allows a path with a `..` in it";
const NO_FILE: &str = "no grant makes a file of the root";

/// What a grant names so that a file may be used: its directory. What lies in the root stands for itself, for it may be a
/// directory that was taken for a file, and the root is no modest grant. `None` for the root.
pub fn directory_of(file: &str) -> Option<&Path> {
    let file = Path::new(file);
    let parent = file.parent()?;
    Some(if parent == Path::new("/") { file } else { parent })
}

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

    /// Why no grant could allow it, if that is so: all of them go by absolute paths that are plain.
    pub fn obstacle(&self) -> Option<&'static str> {
        let path = match self {
            Access::Process { program: path, .. } | Access::Digest { path } | Access::Directory { path, .. } => {
                Path::new(path)
            }
            Access::Variable { .. } | Access::Tasks { .. } => return None,
        };
        if !path.is_absolute() {
            return Some(NOT_ABSOLUTE);
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Some(NOT_PLAIN);
        }
        (matches!(self, Access::Digest { .. }) && path.parent().is_none()).then_some(NO_FILE)
    }

    /// Whether any grant could allow it.
    pub fn can_be_granted(&self) -> bool {
        self.obstacle().is_none()
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
                // Of the root no grant is proposed.
                let directory = directory_of(path).and_then(Path::to_str).unwrap_or(path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Grants;

    fn digest(path: &str) -> Access {
        Access::Digest { path: path.to_owned() }
    }

    #[test]
    fn no_grant_widens_to_the_root() {
        for (path, read) in [("/vmlinuz", "/vmlinuz"), ("//x", "//x"), ("/etc/hosts", "/etc"), ("/a/b/.", "/a")] {
            let grant = digest(path).grant(Key::Tenant, "g");
            assert_eq!(grant, format!("[g.digest]\nread = [\"{read}\"]"));
        }
        assert_eq!(digest("/").obstacle(), Some(NO_FILE));
    }

    #[test]
    fn what_can_be_granted_is_what_the_configuration_takes() {
        let paths = ["/a/b", "/a", "/a/./b", "/a/..b", "a", "./a", "/a/../b", "/a/..", "/.."];
        let accesses = paths.map(str::to_owned).into_iter().flat_map(|path| {
            let (program, args) = (path.clone(), vec!["../x".to_owned()]);
            let directory = Access::Directory { path: path.clone(), host: None, write: true };
            [Access::Process { program, args }, digest(&path), directory]
        });
        for access in accesses {
            let document: toml::Table = toml::from_str(&access.grant(Key::Tenant, "g")).unwrap();
            let is_taken = document["g"].clone().try_into::<Grants>().is_ok();
            // A file's directory may be plain where the file is not.
            assert!(is_taken || !access.can_be_granted(), "{access:?}");
        }
        assert!(digest("/a/..b").can_be_granted() && !digest("/a/..").can_be_granted());
        assert_eq!(digest("/var/log/../../etc/passwd").obstacle(), Some(NOT_PLAIN));
    }
}
