//! Which of a component's modules are the program, its shim and the fixup, if it has just these.

use std::collections::HashMap;

use wasmparser::{CanonicalFunction, CanonicalOption, ComponentAlias, Export, ExternalKind, Instance};

use super::items::Item;
use super::modules::{Fixup, Shim};

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
    /// The inline instance that the fixup is instantiated with.
    pub fixup_arguments: u32,
    /// The core function that stands behind each one that the shim exports.
    pub behind: HashMap<&'a str, u32>,
    pub program_module: &'a [u8],
    /// The name under which the program exports what allocates for the functions that it imports, if any of them needs it.
    pub realloc: Option<&'a str>,
}

/// What a core index space of functions or tables has.
#[derive(Clone, Copy)]
enum Defined<'a> {
    Export { of: u32, name: &'a str },
    Otherwise,
}

/// The core items of a component, by their indices.
#[derive(Default)]
struct Core<'a> {
    modules: Vec<&'a [u8]>,
    instances: Vec<&'a Instance<'a>>,
    functions: Vec<Defined<'a>>,
    tables: Vec<Defined<'a>>,
}

impl<'a> Shape<'a> {
    /// Recognises the shape. `None` for whatever else a component can be.
    pub fn of(items: &'a [Item<'a>]) -> Option<Shape<'a>> {
        let core = Core::of(items);
        let (fixup, found) = only(core.instantiated().filter_map(|role| Some((role, core.fixup(role)?))))?;
        let Instance::Instantiate { args, .. } = core.instance(fixup.instance)? else { return None };
        let [argument] = &**args else { return None };
        let Instance::FromExports(arguments) = core.instance(argument.index)? else { return None };
        if argument.name != found.import_module {
            return None;
        }

        let table = exported(arguments, ExternalKind::Table, found.table)?;
        let Defined::Export { of: shim, name: table } = *core.tables.get(usize::try_from(table).ok()?)? else {
            return None;
        };
        let shim = core.instantiated().find(|role| role.instance == shim)?;
        let jumps = Shim::read(core.module(shim.module)?)?;
        if jumps.table != table || jumps.size < found.functions.len() as u64 {
            return None;
        }
        let mut behind = HashMap::new();
        for (name, jump) in jumps.functions {
            // Where the two types differ the call traps.
            let filled = found.functions.get(usize::try_from(jump.slot).ok()?).filter(|it| it.ty == jump.ty)?;
            behind.insert(name, exported(arguments, ExternalKind::Func, filled.import)?);
        }

        let program = only(core.instantiated().filter(|role| core.takes_from(*role, shim.instance)))?;
        let roles = [program, shim, fixup];
        let early = core.instantiated().filter(|role| role.instance <= fixup.instance);
        let modules = core.instantiated().filter(|role| roles.iter().any(|it| it.module == role.module));
        // All three, each made once, and no other before the last of them: in which order they are made is about to change.
        if early.count() != roles.len() || modules.count() != roles.len() || program == shim || program == fixup {
            return None;
        }
        Some(Shape {
            program,
            shim,
            fixup,
            fixup_arguments: argument.index,
            behind,
            program_module: core.module(program.module)?,
            realloc: core.realloc(items, program, fixup)?,
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
                    let defined = Defined::Export { of: *instance_index, name };
                    match kind {
                        ExternalKind::Func | ExternalKind::FuncExact => core.functions.push(defined),
                        ExternalKind::Table => core.tables.push(defined),
                        _ => {}
                    }
                }
                Item::Function(CanonicalFunction::Lift { .. }) | Item::Alias(_) | Item::Other { .. } => {}
                Item::Function(_) => core.functions.push(Defined::Otherwise),
            }
        }
        core
    }

    fn module(&self, index: u32) -> Option<&'a [u8]> {
        self.modules.get(usize::try_from(index).ok()?).copied()
    }

    fn instance(&self, index: u32) -> Option<&'a Instance<'a>> {
        self.instances.get(usize::try_from(index).ok()?).copied()
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

    /// Whether an instance is made with functions of another's.
    fn takes_from(&self, role: Role, other: u32) -> bool {
        let Some(Instance::Instantiate { args, .. }) = self.instance(role.instance) else { return false };
        args.iter().any(|arg| match self.instance(arg.index) {
            Some(Instance::FromExports(exports)) => exports.iter().any(|export| {
                export.kind == ExternalKind::Func && self.function(export.index).is_some_and(|(of, _)| of == other)
            }),
            _ => arg.index == other,
        })
    }

    /// The instance that a function is of, and its name there.
    fn function(&self, index: u32) -> Option<(u32, &'a str)> {
        match self.functions.get(usize::try_from(index).ok()?)? {
            Defined::Export { of, name } => Some((*of, name)),
            Defined::Otherwise => None,
        }
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
                        let (of, name) = self.function(*function)?;
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

fn exported(exports: &[Export<'_>], kind: ExternalKind, name: &str) -> Option<u32> {
    exports.iter().find(|export| export.kind == kind && export.name == name).map(|export| export.index)
}
