//! The core modules: shim and fixup as they are recognised, the memory's as it is made, the program's as it is changed.

mod calls;
mod program;

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection,
};
use wasmparser::{
    Element, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody, Operator, Parser, Payload, TableInit,
    TypeRef, ValType,
};

use super::at;
pub use program::Program;

/// What the memory's module exports: the memory, what allocates in it, and the table in which the program puts that.
pub const MEMORY: &str = "memory";
pub const REALLOC: &str = "cabi_realloc";
const TABLE: &str = "table";
/// The module that the program imports the memory from.
pub const MEMORY_MODULE: &str = "wasmline:memory";
/// The table: one place for one function.
const REALLOC_TABLE: TableType =
    TableType { element_type: RefType::FUNCREF, table64: false, minimum: 1, maximum: Some(1), shared: false };

/// The module that comes first.
pub struct Memory<'a> {
    pub ty: MemoryType,
    /// What it holds at first: an offset each, and the bytes from there on.
    pub contents: &'a [(i32, &'a [u8])],
    /// The function of the program's that allocates in it, where an import needs one.
    pub realloc: Option<u32>,
}

/// A module whose functions all jump through its table.
pub struct Shim<'a> {
    /// The table's name, and how many elements it has.
    pub table: &'a str,
    pub size: u64,
    /// The functions by their names.
    pub functions: Vec<(&'a str, Jump)>,
}

/// A function that passes on what it is called with.
pub struct Jump {
    /// The element of the table that it calls.
    pub slot: u32,
    pub ty: FuncType,
}

/// A module that puts functions that it imports into a table that it imports, and may then call one: nothing else.
pub struct Fixup<'a> {
    pub table: Imported<'a>,
    /// The functions with their types, in the order of the table's elements, of which they are the first.
    pub functions: Vec<(Imported<'a>, FuncType)>,
    /// What it calls, which takes nothing and returns nothing.
    pub start: Option<Imported<'a>>,
}

/// Under which two names a module imports something.
#[derive(Debug, Clone, Copy)]
pub struct Imported<'a> {
    pub module: &'a str,
    pub name: &'a str,
}

impl Memory<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut memories = MemorySection::new();
        memories.memory(self.ty);
        let mut exports = ExportSection::new();
        exports.export(MEMORY, ExportKind::Memory, 0);
        let mut data = DataSection::new();
        for (offset, bytes) in self.contents {
            data.active(0, &ConstExpr::i32_const(*offset), bytes.iter().copied());
        }
        let mut module = Module::new();
        if self.realloc.is_none() {
            module.section(&memories).section(&exports).section(&data);
            return module.finish();
        }
        let i32 = wasm_encoder::ValType::I32;
        let mut types = TypeSection::new();
        types.ty().function([i32; 4], [i32]);
        let mut functions = FunctionSection::new();
        functions.function(0);
        let mut tables = TableSection::new();
        tables.table(REALLOC_TABLE);
        exports.export(TABLE, ExportKind::Table, 0).export(REALLOC, ExportKind::Func, 0);
        let mut body = Function::new([]);
        body.instructions().local_get(0).local_get(1).local_get(2).local_get(3).i32_const(0).call_indirect(0, 0).end();
        let mut code = CodeSection::new();
        code.function(&body);
        module.section(&types).section(&functions).section(&tables).section(&memories).section(&exports);
        module.section(&code).section(&data);
        module.finish()
    }

    /// What the program has to do for [`REALLOC`] to call its function.
    fn fill(&self, table: u32, elements: &mut ElementSection) {
        if let Some(realloc) = self.realloc {
            elements.active(Some(table), &ConstExpr::i32_const(0), Elements::Functions([realloc].as_slice().into()));
        }
    }
}

impl<'a> Shim<'a> {
    /// Recognises one. `None` for every other module.
    pub fn read(module: &'a [u8]) -> Option<Shim<'a>> {
        let (mut types, mut functions, mut jumps, mut size) = (Vec::new(), Vec::new(), Vec::new(), None);
        let (mut table, mut names) = (None, Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::Version { .. }
                | Payload::CustomSection(_)
                | Payload::CodeSectionStart { .. }
                | Payload::End(_) => {}
                Payload::TypeSection(section) => types = plain_types(section)?,
                Payload::FunctionSection(section) => {
                    functions = section.into_iter().collect::<Result<Vec<u32>, _>>().ok()?;
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let table = table.ok()?;
                        if size.is_some() || !matches!(table.init, TableInit::RefNull) {
                            return None;
                        }
                        size = Some(table.ty.initial);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.ok()?;
                        match export.kind {
                            ExternalKind::Func => names.push((export.name, usize::try_from(export.index).ok()?)),
                            ExternalKind::Table if table.is_none() => table = Some(export.name),
                            _ => return None,
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let ty = *functions.get(jumps.len())?;
                    jumps.push((slot(&body, ty, at(&types, ty)?)?, ty));
                }
                _ => return None,
            }
        }
        let named = |(name, function): (&'a str, usize)| {
            let (slot, ty) = *jumps.get(function)?;
            Some((name, Jump { slot, ty: at(&types, ty)?.clone() }))
        };
        Some(Shim { table: table?, size: size?, functions: names.into_iter().map(named).collect::<Option<_>>()? })
    }
}

/// The element that a function calls with all that it is called with, if it does nothing else. `ty` is its type.
fn slot(body: &FunctionBody<'_>, index: u32, ty: &FuncType) -> Option<u32> {
    if body.get_locals_reader().ok()?.get_count() > 0 {
        return None;
    }
    let mut operators = body.get_operators_reader().ok()?.into_iter();
    let mut next = || operators.next()?.ok();
    for (parameter, _) in (0..).zip(ty.params()) {
        if !matches!(next()?, Operator::LocalGet { local_index } if local_index == parameter) {
            return None;
        }
    }
    let Operator::I32Const { value: slot } = next()? else { return None };
    let calls = matches!(next()?, Operator::CallIndirect { type_index, table_index: 0 } if type_index == index);
    let ends = matches!(next()?, Operator::End) && next().is_none();
    if calls && ends { u32::try_from(slot).ok() } else { None }
}

impl<'a> Fixup<'a> {
    /// Recognises one. `None` for every other module.
    pub fn read(module: &'a [u8]) -> Option<Fixup<'a>> {
        let (mut types, mut imports, mut table, mut filled, mut start) = (Vec::new(), Vec::new(), None, None, None);
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::Version { .. } | Payload::CustomSection(_) | Payload::End(_) => {}
                Payload::TypeSection(section) => types = plain_types(section)?,
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        let imported = Imported { module: import.module, name: import.name };
                        match import.ty {
                            TypeRef::Func(ty) => imports.push((imported, ty)),
                            TypeRef::Table(_) if table.is_none() => table = Some(imported),
                            _ => return None,
                        }
                    }
                }
                Payload::StartSection { func, .. } => start = Some(at(&imports, func)?.0),
                Payload::ElementSection(section) => {
                    for element in section {
                        let functions = elements_from_0(element.ok()?)?;
                        if filled.replace(functions).is_some() {
                            return None;
                        }
                    }
                }
                _ => return None,
            }
        }
        let function = |function: u32| {
            let (imported, ty) = *at(&imports, function)?;
            Some((imported, at(&types, ty)?.clone()))
        };
        Some(Fixup { table: table?, functions: filled?.into_iter().map(function).collect::<Option<_>>()?, start })
    }
}

/// The functions that are put into the first table from its beginning on.
fn elements_from_0(element: Element<'_>) -> Option<Vec<u32>> {
    let (offset, functions) = elements(element)?;
    if number(&offset)? == 0 { Some(functions) } else { None }
}

/// The functions that are put into the first table when the module is instantiated, and where.
fn elements(element: Element<'_>) -> Option<(wasmparser::ConstExpr<'_>, Vec<u32>)> {
    let ElementKind::Active { table_index: None | Some(0), offset_expr } = element.kind else { return None };
    let ElementItems::Functions(functions) = element.items else { return None };
    Some((offset_expr, functions.into_iter().collect::<Result<_, _>>().ok()?))
}

/// The number that an offset is, if it is no more than that.
fn number(offset: &wasmparser::ConstExpr<'_>) -> Option<i32> {
    let mut operators = offset.get_operators_reader().into_iter();
    let Operator::I32Const { value } = operators.next()?.ok()? else { return None };
    let ends = matches!(operators.next()?.ok()?, Operator::End) && operators.next().is_none();
    ends.then_some(value)
}

/// The types of a module that has none but those of functions of numbers, which are equal if they look the same.
fn plain_types(section: wasmparser::TypeSectionReader<'_>) -> Option<Vec<FuncType>> {
    let plain = |ty: &FuncType| ty.params().iter().chain(ty.results()).all(is_number);
    let types = section.into_iter_err_on_gc_types().collect::<Result<Vec<_>, _>>().ok()?;
    types.iter().all(plain).then_some(types)
}

fn is_number(ty: &ValType) -> bool {
    matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64)
}
