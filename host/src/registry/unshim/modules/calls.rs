//! Calls through a table that never changes, which need none.
//!
//! A compiler puts into a table what is called by a pointer, and nothing ever changes it. Such a table is an allocation to be made
//! and wiped for each instance. Without it the pointer is a number that a function of the program's picks the callee by, one
//! function for each type of callee. Every other number traps, as it does with a table.

use std::collections::BTreeSet;

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder};
use wasm_encoder::{BlockType, CodeSection, Function, FunctionSection, TypeSection};
use wasmparser::{
    ElementSectionReader, ExternalKind, FuncType, Operator, Parser, Payload, TableInit, TypeRef, ValType,
};

use super::{elements, is_number, number, plain_types};
use crate::registry::unshim::at;

/// Places that such a table may have. Jumps over more of them would take more room than they save.
const MOST_PLACES: u64 = 128;
/// Types that may be called through it. They are looked through for each call.
const MOST_TYPES: usize = 128;
/// Instructions and labels that may be added for it, and parameters that a callee may have: far more than programs need, and
/// little to compile.
const MOST_SIZE: usize = 16 * 1024;
const MOST_PARAMETERS: usize = 64;

/// What is called through a program's only table.
pub struct Calls {
    /// The program's types.
    types: Vec<FuncType>,
    /// The function at each place of the table, and the index of its type.
    places: Vec<Option<(u32, u32)>>,
    /// Types that are called through the table, no two of them alike. Each has a function that is called instead, from `first`
    /// on in this order.
    called: Vec<u32>,
    first: u32,
}

impl Calls {
    /// Those of a program. `None` where its table may change or is somebody else's too, is large, or is not its only one.
    pub fn read(module: &[u8]) -> Option<Calls> {
        let (mut types, mut functions, mut size) = (Vec::new(), Vec::new(), None);
        let (mut filled, mut called) = (Vec::new(), BTreeSet::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::TypeSection(section) => types = plain_types(section)?,
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import.ok()?.ty {
                            TypeRef::Func(ty) => functions.push(ty),
                            TypeRef::Global(global) if is_number(&global.content_type) => {}
                            _ => return None,
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        functions.push(ty.ok()?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let table = table.ok()?;
                        let is_plain = !table.ty.table64 && !table.ty.shared && table.ty.element_type.is_func_ref();
                        if size.is_some() || !is_plain || !matches!(table.init, TableInit::RefNull) {
                            return None;
                        }
                        size = Some(table.ty.initial).filter(|size| *size <= MOST_PLACES);
                        size?;
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        if !is_number(&global.ok()?.ty.content_type) {
                            return None;
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        if export.ok()?.kind == ExternalKind::Table {
                            return None;
                        }
                    }
                }
                Payload::ElementSection(section) => filled = elements_of(section)?,
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader().ok()? {
                        called.extend(called_by(&operator.ok()?)?);
                    }
                }
                Payload::Version { .. }
                | Payload::MemorySection(_)
                | Payload::DataCountSection { .. }
                | Payload::CodeSectionStart { .. }
                | Payload::DataSection(_)
                | Payload::CustomSection(_)
                | Payload::End(_) => {}
                _ => return None,
            }
        }
        let mut places = vec![None; usize::try_from(size?).ok()?];
        for (begin, listed) in filled {
            // Where they do not fit the instance traps, and is to go on doing so.
            let room = places.get_mut(begin..begin.checked_add(listed.len())?)?;
            for (place, function) in room.iter_mut().zip(listed) {
                *place = Some((function, *at(&functions, function)?));
            }
        }
        let first = u32::try_from(functions.len()).ok()?;
        let mut calls = Calls { types, places, called: Vec::new(), first };
        for ty in called {
            if calls.place_of(ty).is_some() {
                continue;
            }
            if calls.called.len() == MOST_TYPES {
                return None;
            }
            calls.called.push(ty);
        }
        let is_plain = |ty: &FuncType| ty.params().len() <= MOST_PARAMETERS;
        let size =
            |ty: &FuncType| calls.places.len() + calls.callees(ty).flatten().count() * (ty.params().len() + 4) + 8;
        let is_small = calls.called_types().map(size).sum::<usize>() <= MOST_SIZE;
        (is_small && calls.called_types().all(is_plain)).then_some(calls)
    }

    /// What is called for a call through the table.
    pub fn instead_of(&self, operator: &Operator<'_>) -> Option<u32> {
        let Operator::CallIndirect { type_index, .. } = operator else { return None };
        Some(self.first + u32::try_from(self.place_of(*type_index)?).ok()?)
    }

    /// Where among those that are called a type stands, or one that is like it.
    fn place_of(&self, ty: u32) -> Option<usize> {
        let ty = at(&self.types, ty)?;
        self.called_types().position(|called| called == ty)
    }

    fn called_types(&self) -> impl Iterator<Item = &FuncType> {
        self.called.iter().filter_map(|ty| at(&self.types, *ty))
    }

    /// The functions of a type by their places.
    fn callees(&self, ty: &FuncType) -> impl Iterator<Item = Option<u32>> {
        let is_of_type = |other: u32| at(&self.types, other) == Some(ty);
        self.places.iter().map(move |place| place.filter(|(_, other)| is_of_type(*other)).map(|(function, _)| function))
    }

    /// Adds the types of the functions that are called instead: those of their callees, and the number of the place.
    pub fn add_types(&self, types: &mut TypeSection) -> Result<(), Error> {
        for ty in self.called_types() {
            let parameters = ty.params().iter().chain(&[ValType::I32]).map(|ty| RoundtripReencoder.val_type(*ty));
            let results = ty.results().iter().map(|ty| RoundtripReencoder.val_type(*ty));
            let (parameters, results) =
                (parameters.collect::<Result<Vec<_>, _>>()?, results.collect::<Result<Vec<_>, _>>()?);
            types.ty().function(parameters, results);
        }
        Ok(())
    }

    /// Says which types they have.
    pub fn add_functions(&self, functions: &mut FunctionSection) {
        for (ty, _) in (self.types.len()..).zip(&self.called) {
            functions.function(u32::try_from(ty).unwrap_or(u32::MAX));
        }
    }

    /// Adds what they do.
    pub fn add_code(&self, code: &mut CodeSection) {
        for ty in self.called_types() {
            code.function(&self.jump(ty));
        }
    }

    /// A function that calls the one whose place it is given, of those that have the type.
    fn jump(&self, ty: &FuncType) -> Function {
        let callees: Vec<Option<u32>> = self.callees(ty).collect();
        let distinct: Vec<u32> = callees.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let others = distinct.len() as u32;
        let label = |callee: &Option<u32>| match callee {
            Some(callee) => distinct.partition_point(|other| other < callee) as u32,
            None => others,
        };
        let labels: Vec<u32> = callees.iter().map(label).collect();
        let parameters = ty.params().len() as u32;

        let mut body = Function::new([]);
        let mut code = body.instructions();
        for _ in 0..=others {
            code.block(BlockType::Empty);
        }
        code.local_get(parameters).br_table(labels, others).end();
        for callee in distinct {
            for parameter in 0..parameters {
                code.local_get(parameter);
            }
            // No frame more than with a table.
            code.return_call(callee).end();
        }
        code.unreachable().end();
        body
    }
}

/// The functions that fill the only table, and from which place on.
fn elements_of(section: ElementSectionReader<'_>) -> Option<Vec<(usize, Vec<u32>)>> {
    let mut filled = Vec::new();
    for element in section {
        let (offset, functions) = elements(element.ok()?)?;
        filled.push((usize::try_from(number(&offset)?).ok()?, functions));
    }
    Some(filled)
}

/// The type that an instruction calls through the table, if it is such a call. `None` where it does anything else with tables or
/// with references to functions.
fn called_by(operator: &Operator<'_>) -> Option<Option<u32>> {
    match operator {
        Operator::CallIndirect { type_index, table_index: 0 } => Some(Some(*type_index)),
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::RefFunc { .. }
        | Operator::TableInit { .. }
        | Operator::ElemDrop { .. }
        | Operator::TableCopy { .. }
        | Operator::TableFill { .. }
        | Operator::TableGet { .. }
        | Operator::TableSet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableSize { .. } => None,
        _ => Some(None),
    }
}
