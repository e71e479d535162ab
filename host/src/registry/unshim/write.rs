//! The component as it is to be: its items in an order in which each comes after what it needs.

use wasm_encoder::reencode::{Reencode, ReencodeComponent, RoundtripReencoder};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ComponentSectionId, ExportKind,
    InstanceSection, ModuleArg, RawSection,
};
use wasmparser::{CanonicalFunction, ComponentAlias, ExternalKind, Instance};

use super::items::Item;
use super::modules::{MEMORY, MEMORY_MODULE, Memory, REALLOC};
use super::shape::Shape;

/// Where the core items of one kind have gone.
#[derive(Default)]
struct Space {
    /// The new index of each old one, if it has one by now.
    moved: Vec<Option<u32>>,
    /// How many there are in the new component.
    size: u32,
}

/// Core items of the new component that the old one did not have.
struct Made {
    instance: u32,
    memory: u32,
    realloc: Option<u32>,
}

/// A core instance, or an alias of one's, that has to wait for what it needs. With its old index.
enum Late<'a> {
    Instance(u32, &'a Instance<'a>),
    Alias(u32, ExternalKind, u32, &'a str),
}

/// Writes a component of a shape.
pub struct Writer<'a> {
    shape: &'a Shape<'a>,
    memory: &'a Memory<'a>,
    program: Vec<u8>,
    component: Component,
    modules: Space,
    instances: Space,
    functions: Space,
    tables: Space,
    memories: Space,
    globals: Space,
    tags: Space,
    made: Option<Made>,
    /// The functions of the shim's that were taken out of its instance, and what stands behind them.
    jumps: Vec<(u32, u32)>,
    late: Vec<Late<'a>>,
    /// Whether nothing has to wait any more.
    filled: bool,
}

impl<'a> Writer<'a> {
    /// A writer that puts `memory` where the shim was, and `program` in the place of the program.
    pub fn new(shape: &'a Shape<'a>, memory: &'a Memory<'a>, program: Vec<u8>) -> Writer<'a> {
        Writer {
            shape,
            memory,
            program,
            component: Component::new(),
            modules: Space::default(),
            instances: Space::default(),
            functions: Space::default(),
            tables: Space::default(),
            memories: Space::default(),
            globals: Space::default(),
            tags: Space::default(),
            made: None,
            jumps: Vec::new(),
            late: Vec::new(),
            filled: false,
        }
    }

    /// Writes it. `None` where something needs what is not there yet, or no more.
    pub fn write(mut self, items: &'a [Item<'a>]) -> Option<Vec<u8>> {
        for item in items {
            match item {
                Item::Other { id, content } => {
                    self.component.section(&RawSection { id: *id, data: content });
                }
                Item::Module(module) => self.module(module),
                Item::Instance(instance) => self.instance(instance)?,
                Item::Alias(ComponentAlias::CoreInstanceExport { kind, instance_index, name }) => {
                    self.export(*kind, *instance_index, name)?;
                }
                Item::Alias(alias) => {
                    let alias = RoundtripReencoder.component_alias(alias.clone()).ok()?;
                    self.component.section(ComponentAliasSection::new().alias(alias));
                }
                Item::Function(function) => self.function(function)?,
            }
        }
        self.filled.then(|| self.component.finish())
    }

    fn module(&mut self, module: &[u8]) {
        let memory;
        let index = self.modules.take_in();
        let data = match index {
            _ if index == self.shape.program.module => &self.program,
            _ if index == self.shape.fixup.module => return,
            _ if index == self.shape.shim.module => {
                memory = self.memory.encode();
                &memory
            }
            _ => module,
        };
        self.component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data });
        self.modules.put(index);
    }

    fn instance(&mut self, instance: &'a Instance<'a>) -> Option<()> {
        let index = self.instances.take_in();
        let Shape { shim, fixup, fixup_arguments, .. } = self.shape;
        match index {
            _ if index == shim.instance => self.make_memory(),
            _ if index == fixup.instance => self.fill(),
            // Only the fixup needs it; whoever else does will not find it.
            _ if fixup_arguments.contains(&index) => Some(()),
            _ => self.write_instance(index, instance).or_else(|| self.put_off(Late::Instance(index, instance))),
        }
    }

    /// An item that a core instance exports.
    fn export(&mut self, kind: ExternalKind, instance: u32, name: &'a str) -> Option<()> {
        let index = self.space(kind)?.take_in();
        let Shape { shim, program, .. } = self.shape;
        match kind {
            ExternalKind::Func if instance == shim.instance && !self.filled => {
                self.jumps.push((index, *self.shape.behind.get(name)?));
                Some(())
            }
            // As above.
            ExternalKind::Table if instance == shim.instance => Some(()),
            // It is the program's only one, whatever it is called, and there already.
            ExternalKind::Memory if instance == program.instance => {
                let memory = self.made.as_ref()?.memory;
                self.memories.set(index, memory)
            }
            _ => self
                .write_export(index, kind, instance, name)
                .or_else(|| self.put_off(Late::Alias(index, kind, instance, name))),
        }
    }

    fn put_off(&mut self, late: Late<'a>) -> Option<()> {
        (!self.filled).then(|| self.late.push(late))
    }

    fn make_memory(&mut self) -> Option<()> {
        let module = self.modules.get(self.shape.shim.module)?;
        self.component.section(InstanceSection::new().instantiate(module, [] as [(&str, ModuleArg); 0]));
        let instance = self.instances.add();
        let export = |kind, name| Alias::CoreInstanceExport { instance, kind, name };
        self.component.section(ComponentAliasSection::new().alias(export(ExportKind::Memory, MEMORY)));
        let memory = self.memories.add();
        let realloc = self.memory.realloc.is_some().then(|| {
            self.component.section(ComponentAliasSection::new().alias(export(ExportKind::Func, REALLOC)));
            self.functions.add()
        });
        self.made = Some(Made { instance, memory, realloc });
        Some(())
    }

    /// All that is imported is there by now: the program is made, and what had to wait for it.
    fn fill(&mut self) -> Option<()> {
        self.filled = true;
        for (index, behind) in std::mem::take(&mut self.jumps) {
            let behind = self.functions.get(behind)?;
            self.functions.set(index, behind)?;
        }
        for late in std::mem::take(&mut self.late) {
            match late {
                Late::Instance(index, instance) => self.write_instance(index, instance)?,
                Late::Alias(index, kind, instance, name) => self.write_export(index, kind, instance, name)?,
            }
        }
        Some(())
    }

    fn write_instance(&mut self, index: u32, instance: &Instance<'_>) -> Option<()> {
        let mut instances = InstanceSection::new();
        match instance {
            Instance::Instantiate { module_index, args } => {
                let arg = |arg: &wasmparser::InstantiationArg<'_>| {
                    Some((arg.name.to_owned(), ModuleArg::Instance(self.instances.get(arg.index)?)))
                };
                let mut args = args.iter().map(arg).collect::<Option<Vec<_>>>()?;
                if index == self.shape.program.instance {
                    args.push((MEMORY_MODULE.to_owned(), ModuleArg::Instance(self.made.as_ref()?.instance)));
                }
                instances.instantiate(self.modules.get(*module_index)?, args);
            }
            Instance::FromExports(exports) => {
                let mut items = Vec::new();
                for export in exports {
                    let at = self.space(export.kind)?.get(export.index)?;
                    items.push((export.name, RoundtripReencoder.export_kind(export.kind).ok()?, at));
                }
                instances.export_items(items);
            }
        }
        self.component.section(&instances);
        self.instances.put(index)
    }

    fn write_export(&mut self, index: u32, kind: ExternalKind, instance: u32, name: &str) -> Option<()> {
        let (instance, export_kind) = (self.instances.get(instance)?, RoundtripReencoder.export_kind(kind).ok()?);
        let alias = Alias::CoreInstanceExport { instance, kind: export_kind, name };
        self.component.section(ComponentAliasSection::new().alias(alias));
        self.space(kind)?.put(index)
    }

    fn function(&mut self, function: &CanonicalFunction) -> Option<()> {
        let mut section = CanonicalFunctionSection::new();
        match function {
            CanonicalFunction::Lift { core_func_index, type_index, options } => {
                section.lift(self.functions.get(*core_func_index)?, *type_index, self.options(options)?);
            }
            CanonicalFunction::Lower { func_index, options } => {
                section.lower(*func_index, self.options(options)?);
            }
            CanonicalFunction::ResourceNew { resource } => {
                section.resource_new(*resource);
            }
            CanonicalFunction::ResourceDrop { resource } => {
                section.resource_drop(*resource);
            }
            CanonicalFunction::ResourceRep { resource } => {
                section.resource_rep(*resource);
            }
            _ => return None,
        }
        self.component.section(&section);
        if !matches!(function, CanonicalFunction::Lift { .. }) {
            let index = self.functions.take_in();
            self.functions.put(index)?;
        }
        Some(())
    }

    fn options(&self, options: &[wasmparser::CanonicalOption]) -> Option<Vec<CanonicalOption>> {
        let option = |option: &wasmparser::CanonicalOption| {
            Some(match *option {
                wasmparser::CanonicalOption::UTF8 => CanonicalOption::UTF8,
                wasmparser::CanonicalOption::UTF16 => CanonicalOption::UTF16,
                wasmparser::CanonicalOption::CompactUTF16 => CanonicalOption::CompactUTF16,
                wasmparser::CanonicalOption::Memory(memory) => CanonicalOption::Memory(self.memories.get(memory)?),
                // Before there is a program its allocator is called by way of the memory's module.
                wasmparser::CanonicalOption::Realloc(function) => {
                    let made = self.made.as_ref().and_then(|made| made.realloc).filter(|_| !self.filled);
                    CanonicalOption::Realloc(self.functions.get(function).or(made)?)
                }
                wasmparser::CanonicalOption::PostReturn(function) => {
                    CanonicalOption::PostReturn(self.functions.get(function)?)
                }
                _ => return None,
            })
        };
        options.iter().map(option).collect()
    }

    fn space(&mut self, kind: ExternalKind) -> Option<&mut Space> {
        match kind {
            ExternalKind::Func => Some(&mut self.functions),
            ExternalKind::Table => Some(&mut self.tables),
            ExternalKind::Memory => Some(&mut self.memories),
            ExternalKind::Global => Some(&mut self.globals),
            ExternalKind::Tag => Some(&mut self.tags),
            ExternalKind::FuncExact => None,
        }
    }
}

impl Space {
    /// The old component's next index, of what has no new one yet.
    fn take_in(&mut self) -> u32 {
        self.moved.push(None);
        u32::try_from(self.moved.len() - 1).unwrap_or(u32::MAX)
    }

    /// The new index of what has just been written and was not there before.
    fn add(&mut self) -> u32 {
        self.size += 1;
        self.size - 1
    }

    /// Gives what has just been written its new index.
    fn put(&mut self, old: u32) -> Option<()> {
        let new = self.add();
        self.set(old, new)
    }

    fn set(&mut self, old: u32, new: u32) -> Option<()> {
        *self.moved.get_mut(usize::try_from(old).ok()?)? = Some(new);
        Some(())
    }

    fn get(&self, old: u32) -> Option<u32> {
        *self.moved.get(usize::try_from(old).ok()?)?
    }
}
