//! Saying that something is not allowed: what the guest is told, and what the operator is.

use super::access::Access;
use super::fit::{Misfit, PathFault};

/// The longest text of a guest's own that a message repeats whole, in characters.
const MAX_QUOTE: usize = 200;
/// The longest line that the operator is proposed to add, in bytes. There is no proposal beyond it.
const MAX_PROPOSAL: usize = 2000;

/// Why something is not allowed. The guest is told one thing, and the operator another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the guest is told. Names nothing that the guest did not name, but for the range of a number.
    pub guest: String,
    /// What the command wanted.
    pub access: Access,
    /// Whose grants lack it; `None` where no grant would help.
    pub key: Option<Key>,
}

/// Whose grants an access is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The tenant's.
    Tenant,
    /// The command's, in its sidecar.
    Sidecar,
}

impl Denial {
    /// A path that is granted by its spelling, and leads over a symbolic link.
    pub fn link(path: &str, access: Access) -> Denial {
        let guest = format!("{} leads over a symbolic link, or out of what is granted", quoted(path));
        Denial { guest, access, key: None }
    }

    /// What the operator is told: whose grants lack it, and the line that would allow it, as it stands in the file of that
    /// key.
    pub fn hint(&self, tenant: &str) -> String {
        let Denial { guest, access, key } = self;
        let Some(key) = key else {
            return format!("{guest}; links are not followed, so name what it leads to, and grant that directory");
        };
        if let Some(obstacle) = access.obstacle() {
            return format!("{guest}; {obstacle}");
        }
        let owner = match key {
            Key::Tenant => "the tenant",
            Key::Sidecar => "the command's sidecar",
        };
        match access.line(*key, &key.table(tenant)) {
            line if line.len() <= MAX_PROPOSAL => format!("{guest}; {owner} would need: {line}"),
            _ => format!("{guest}; it is {owner} that lacks the grant"),
        }
    }
}

impl Key {
    /// The table that its grants stand in, in the configuration or in a sidecar.
    pub fn table(self, tenant: &str) -> String {
        match self {
            Key::Tenant => format!("tenants.{tenant}.grants"),
            Key::Sidecar => "grants".to_owned(),
        }
    }

    pub(super) fn denies_spawn(self, misfit: &Misfit, program: &str, args: &[String]) -> Denial {
        let shown = quoted(program);
        let why = match misfit {
            Misfit::Program => format!("{shown} is not {}", self.participle()),
            Misfit::TooMany(slots) => format!("{shown} takes no more than {slots} arguments here"),
            Misfit::TooManyPaths(most) => format!("{shown} takes no more than {most} paths here"),
            Misfit::TooFew(given) => format!("{shown} takes more than {given} arguments here"),
            Misfit::Argument(index, why) => format!("argument {} of {shown} {why}", index + 1),
        };
        self.denies(why, Access::Process { program: program.to_owned(), args: args.to_vec() })
    }

    pub(super) fn denies_digest(self, fault: PathFault, path: &str) -> Denial {
        self.denies(format!("{} {fault}", quoted(path)), Access::Digest { path: path.to_owned() })
    }

    pub(super) fn denies_tasks(self, stop: bool) -> Denial {
        let what = if stop { "stopped" } else { "listed" };
        self.denies(format!("running commands may not be {what} here"), Access::Tasks { stop })
    }

    /// A denial of `access`, for a reason that the guest may read.
    pub(super) fn denies(self, guest: String, access: Access) -> Denial {
        Denial { guest, access, key: Some(self) }
    }

    pub(super) fn participle(self) -> &'static str {
        match self {
            Key::Tenant => "granted",
            Key::Sidecar => "asked for by this command",
        }
    }
}

/// A guest's text as it stands in a message: bounded, and on one line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((cut, _)) => format!("{}…", toml_string(&text[..cut])),
        None => toml_string(text),
    }
}

/// Text as TOML writes it on one line, so that it can be copied from a message into a file.
pub fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
