//! What an invocation may do to the machine: what its tenant allows and its command asks for, both.
//!
//! This is pure: it looks at the spelling of what a guest wants and answers with a plan or with a denial. Whoever
//! acts on the plan does the I/O, and does what the plan demands of it.

mod fit;
mod grants;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::fit::{Beneath, PathArgument};
use self::fit::{Misfit, PathFault};
pub use self::grants::{DigestGrant, Grants, ProcessGrant, Slot};

/// Longest part of a guest's own text that is repeated in a message, in characters.
const MAX_QUOTE: usize = 200;

/// What a command asks for, the second of the two keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// Whatever the tenant allows, for a command whose sidecar does not say.
    #[default]
    Everything,
    /// No more than this.
    Only(Grants),
}

/// The grants of an invocation: an action needs a grant of the tenant and a grant of the command.
#[derive(Debug, Clone)]
pub struct Effective {
    tenant_name: Arc<str>,
    tenant: Arc<Grants>,
    asked: Arc<Asked>,
}

/// A program that may be spawned, and what has to be made sure of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnPlan {
    /// The program's absolute path, as granted.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The arguments that are paths, in order, with where each has to be found.
    pub paths: Vec<PathArgument>,
}

/// Why an action is not allowed, in two messages that differ in what they give away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the guest and whoever it tells: what did not fit. It names nothing that the guest did not name itself,
    /// but for the range of a number.
    pub guest: String,
    /// For the operator: whose grants do not allow it, and the lines that would.
    pub operator: String,
}

/// Why a file may not be hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestRefusal {
    /// The path is not absolute or has a NUL byte in it, so no grant could allow it.
    BadPath,
    /// No grant allows it.
    Denied(Denial),
}

impl Effective {
    /// The grants of an invocation on behalf of the tenant `tenant_name`.
    pub fn new(tenant_name: Arc<str>, tenant: Arc<Grants>, asked: Arc<Asked>) -> Self {
        Self {
            tenant_name,
            tenant,
            asked,
        }
    }

    /// Whether a program may be spawned with these arguments, given without the program's own name.
    pub fn spawn(&self, program: &str, args: &[String]) -> Result<SpawnPlan, Denial> {
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(self.denial(Key::Tenant, "an argument has a NUL byte in it", None));
        }
        let fit = |key: Key, grants: &Grants| {
            fit::spawn(&grants.process, program, args).map_err(|misfit| {
                let line = process_grant(key.table(&self.tenant_name), program, args);
                self.denial(key, &explain(&misfit, program, args), Some(line))
            })
        };
        let mut paths = fit(Key::Tenant, &self.tenant)?;
        if let Asked::Only(asked) = &*self.asked {
            let also = fit(Key::Command, asked)?;
            add_missing(&mut paths, also);
        }
        Ok(SpawnPlan {
            program: PathBuf::from(program),
            args: args.to_vec(),
            paths,
        })
    }
}
