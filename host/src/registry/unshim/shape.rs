//! Which of a component's modules are the program, its shim and the fixup, if it has just these.

use std::collections::HashMap;

use wasmparser::{CanonicalFunction, CanonicalOption, ComponentAlias, ExternalKind, Instance, InstantiationArg};

use super::at;
use super::items::Item;
use super::modules::{Fixup, Imported, Shim};

/// A module of a component and its only instance, by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    pub module: u32,
    pub instance: u32,
}

/// What plays which part in a component.
pub struct Shape<'a> {
    pub program: Role,
    pub shim: Role,
    pub fixup: Role,
    /// The inline instances that the fixup is instantiated with.
    pub fixup_arguments: Vec<u32>,
    /// The core function that stands behind each one that the shim exports.
    pub behind: HashMap<&'a str, u32>,
    pub program_module: &'a [u8],
    /// The name under which the program exports what allocates for the functions that it imports, if any of them needs it.
    pub realloc: Option<&'a str>,
    /// The name under which the program exports what the fixup calls.
    pub start: Option<&'a str>,
}

/// What a core instance exports.
#[derive(Clone, Copy)]
struct Exported<'a> {
    of: u32,
    name: &'a str,
}

/// What an instance is made with.
struct Argument<'a> {
    /// Its index among the component's own items, if it has one.
    index: Option<u32>,
    exported: Option<Exported<'a>>,
}

/// The core items of a component, by their indices.
#[derive(Default)]
struct Core<'a> {
    modules: Vec<&'a [u8]>,
    instances: Vec<&'a Instance<'a>>,
    /// Those that an instance exports, and the others.
    functions: Vec<Option<Exported<'a>>>,
    tables: Vec<Option<Exported<'a>>>,
}

impl<'a> Shape<'a> {
    /// Recognises the shape. `None` for whatever else a component can be.
    pub fn of(items: &'a [Item<'a>]) -> Option<Shape<'a>> {
        let core = Core::of(items);
        let (fixup, found) = only(core.instantiated().filter_map(|role| Some((role, core.fixup(role)?))))?;
        let table = core.argument(fixup, ExternalKind::Table, found.table)?.exported?;
        let shim = core.instantiated().find(|role| role.instance == table.of)?;
        let jumps = Shim::read(core.module(shim.module)?)?;
        // A table that is too small for it traps.
        if jumps.table != table.name || jumps.size < found.functions.len() as u64 {
            return None;
        }
        let mut behind = HashMap::new();
        for (name, jump) in jumps.functions {
            // Where the two types differ the call traps.
            let (import, _) = at(&found.functions, jump.slot).filter(|(_, ty)| *ty == jump.ty)?;
            behind.insert(name, core.argument(fixup, ExternalKind::Func, *import)?.index?);
        }

        let program = only(core.instantiated().filter(|role| *role != fixup && core.takes_from(*role, shim.instance)))?;
        let start = match found.start {
            Some(import) => {
                let start = core.argument(fixup, ExternalKind::Func, import)?.exported?;
                Some((start.of == program.instance).then_some(start.name)?)
            }
            None => None,
        };
        // In which order they are made is about to change, so there must be no other before the last of them.
        let roles = [shim, program, fixup];
        let early: Vec<Role> = core.instantiated().take_while(|role| role.instance <= fixup.instance).collect();
        let made = core.instantiated().filter(|role| roles.iter().any(|it| it.module == role.module));
        if early != roles || made.count() != roles.len() {
            return None;
        }
        Some(Shape {
            program,
            shim,
            fixup,
            fixup_arguments: core.inline_arguments(fixup),
            behind,
            program_module: core.module(program.module)?,
            realloc: core.realloc(items, program, fixup)?,
            start,
        })
    }
}

impl<'a> Core<'a> {
    fn of(items: &'a [Item<'a>]) -> Core<'a> {
        let mut core = Core::default();
        for item in items {
            match item {
                Item::Module(module) => core.modules.push(module),
                Item::Instance(instance) => core.instances.push(instance),
                Item::Alias(ComponentAlias::CoreInstanceExport { kind, instance_index, name }) => {
                    let exported = Some(Exported { of: *instance_index, name });
                    match kind {
                        ExternalKind::Func | ExternalKind::FuncExact => core.functions.push(exported),
                        ExternalKind::Table => core.tables.push(exported),
                        _ => {}
                    }
                }
                Item::Function(CanonicalFunction::Lift { .. }) | Item::Alias(_) | Item::Other { .. } => {}
                Item::Function(_) => core.functions.push(None),
            }
        }
        core
    }

    fn module(&self, index: u32) -> Option<&'a [u8]> {
        at(&self.modules, index).copied()
    }

    fn instance(&self, index: u32) -> Option<&'a Instance<'a>> {
        at(&self.instances, index).copied()
    }

    /// The instances of modules, in their order.
    fn instantiated(&self) -> impl Iterator<Item = Role> {
        (0..).zip(&self.instances).filter_map(|(index, instance)| match instance {
            Instance::Instantiate { module_index, .. } => Some(Role { module: *module_index, instance: index }),
            Instance::FromExports(_) => None,
        })
    }

    fn fixup(&self, role: Role) -> Option<Fixup<'a>> {
        Fixup::read(self.module(role.module)?)
    }

    fn arguments(&self, role: Role) -> &'a [InstantiationArg<'a>] {
        match self.instance(role.instance) {
            Some(Instance::Instantiate { args, .. }) => args,
            _ => &[],
        }
    }

    /// What an instance is made with for an import.
    fn argument(&self, role: Role, kind: ExternalKind, import: Imported<'a>) -> Option<Argument<'a>> {
        let arg = self.arguments(role).iter().find(|arg| arg.name == import.module)?;
        match self.instance(arg.index)? {
            Instance::Instantiate { .. } => {
                Some(Argument { index: None, exported: Some(Exported { of: arg.index, name: import.name }) })
            }
            Instance::FromExports(exports) => {
                let export = exports.iter().find(|export| export.kind == kind && export.name == import.name)?;
                let space = if kind == ExternalKind::Table { &self.tables } else { &self.functions };
                Some(Argument { index: Some(export.index), exported: *at(space, export.index)? })
            }
        }
    }

    fn inline_arguments(&self, role: Role) -> Vec<u32> {
        let is_inline =
            |arg: &&InstantiationArg<'_>| matches!(self.instance(arg.index), Some(Instance::FromExports(_)));
        self.arguments(role).iter().filter(is_inline).map(|arg| arg.index).collect()
    }

    /// Whether an instance is made with functions of another's.
    fn takes_from(&self, role: Role, other: u32) -> bool {
        self.arguments(role).iter().any(|arg| match self.instance(arg.index) {
            Some(Instance::FromExports(exports)) => exports.iter().any(|export| {
                export.kind == ExternalKind::Func && self.function(export.index).is_some_and(|it| it.of == other)
            }),
            _ => arg.index == other,
        })
    }

    /// The function with this index, where an instance exports it.
    fn function(&self, index: u32) -> Option<Exported<'a>> {
        *at(&self.functions, index)?
    }

    /// The one function of the program's that allocates for what is lowered before the fixup. `None` where there are others.
    fn realloc(&self, items: &'a [Item<'a>], program: Role, fixup: Role) -> Option<Option<&'a str>> {
        let (mut instances, mut realloc) = (0, None);
        for item in items {
            match item {
                Item::Instance(_) if instances == fixup.instance => break,
                Item::Instance(_) => instances += 1,
                Item::Function(CanonicalFunction::Lower { options, .. }) => {
                    for option in options {
                        let CanonicalOption::Realloc(function) = option else { continue };
                        let Exported { of, name } = self.function(*function)?;
                        if of != program.instance || realloc.is_some_and(|known| known != name) {
                            return None;
                        }
                        realloc = Some(name);
                    }
                }
                _ => {}
            }
        }
        Some(realloc)
    }
}

/// The item of a sequence that has just one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
