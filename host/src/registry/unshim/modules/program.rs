//! The program: its memory becomes an import, and goes with what it holds at first. A table that never changes goes too.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder, utils};
use wasm_encoder::{
    CodeSection, DataSection, ElementSection, EntityType, FunctionSection, ImportSection, Instruction, MemorySection,
    MemoryType, Module, SectionId, StartSection, TableSection, TypeSection,
};
use wasmparser::{Data, DataKind, DataSectionReader, ExternalKind, Operator, Parser, Payload, TypeRef};

use super::calls::Calls;
use super::{MEMORY, MEMORY_MODULE, Memory, REALLOC_TABLE, TABLE, number};

/// A module with one memory of its own, that does nothing when it is instantiated but fill memory and tables.
pub struct Program<'a> {
    module: &'a [u8],
    memory: MemoryType,
    functions: Vec<(&'a str, u32)>,
    imported_tables: u32,
    /// What the memory holds at first. `None` where that depends on more than the module, or does not fit.
    contents: Option<Vec<(i32, &'a [u8])>>,
    /// Whether a function may name a segment.
    names_segments: bool,
}

impl<'a> Program<'a> {
    /// Recognises one. `None` for every other module.
    pub fn read(module: &'a [u8]) -> Option<Program<'a>> {
        let (mut memories, mut functions, mut imported_tables) = (Vec::new(), Vec::new(), 0);
        let (mut contents, mut names_segments) = (Some(Vec::new()), false);
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                // It could call what it imports before there is anything behind it.
                Payload::StartSection { .. } => return None,
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        match import.ty {
                            _ if import.module == MEMORY_MODULE => return None,
                            TypeRef::Memory(_) => return None,
                            TypeRef::Table(_) => imported_tables += 1,
                            _ => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        memories.push(memory.ok()?);
                    }
                }
                // Without it a function that names one is not valid.
                Payload::DataCountSection { .. } => names_segments = true,
                Payload::DataSection(section) => contents = contents_of(section),
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.ok()?;
                        if export.kind == ExternalKind::Func {
                            functions.push((export.name, export.index));
                        }
                    }
                }
                _ => {}
            }
        }
        let [memory] = *memories else { return None };
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return None;
        }
        let size = memory.initial << 16;
        let fits = |(offset, bytes): &(i32, &[u8])| {
            u64::from(offset.cast_unsigned()).checked_add(bytes.len() as u64).is_some_and(|end| end <= size)
        };
        let contents = contents.filter(|contents| contents.iter().all(fits));
        let memory = RoundtripReencoder.memory_type(memory).ok()?;
        Some(Program { module, memory, functions, imported_tables, contents, names_segments })
    }

    /// Whether what its memory holds at first can be told before it is instantiated.
    pub fn has_known_contents(&self) -> bool {
        self.contents.is_some()
    }

    /// The module of its memory with what that holds, and of the function by which it allocates, where that is asked for.
    pub fn memory(&self, realloc: Option<&str>) -> Option<Memory<'_>> {
        let contents = self.contents.as_deref().unwrap_or_default();
        Some(Memory { ty: self.memory, contents, realloc: self.function(realloc)? })
    }

    /// The same program with that memory as an import, and that function as its start.
    pub fn importing(&self, memory: &Memory<'_>, start: Option<&str>) -> Option<Vec<u8>> {
        let (start, fills) = (self.function(start)?, memory.realloc.is_some());
        let segments = match (self.has_known_contents(), self.names_segments) {
            (false, _) => Segments::Stay,
            (true, true) => Segments::Empty,
            (true, false) => Segments::Go,
        };
        let calls = Calls::read(self.module);
        let mut importer = Importer { memory, table: self.imported_tables, start, fills, segments, calls };
        let mut module = Module::new();
        importer.parse_core_module(&mut module, Parser::new(0), self.module).ok()?;
        Some(module.finish())
    }

    /// The function that it exports by a name, if there is a name.
    fn function(&self, name: Option<&str>) -> Option<Option<u32>> {
        let Some(name) = name else { return Some(None) };
        self.functions.iter().find(|(export, _)| *export == name).map(|(_, index)| Some(*index))
    }
}

/// What of a data section fills the memory: active segments that do not name where they go by what is imported.
fn contents_of(section: DataSectionReader<'_>) -> Option<Vec<(i32, &[u8])>> {
    let mut contents = Vec::new();
    for segment in section {
        let segment = segment.ok()?;
        if let DataKind::Active { offset_expr, .. } = segment.kind {
            contents.push((number(&offset_expr)?, segment.data));
        }
    }
    Some(contents)
}

/// What becomes of the program's segments that fill its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segments {
    Stay,
    /// They are left without contents, as they are once the memory is filled, so that no segment has another index. Passive,
    /// because the engine would go through active ones for each instance.
    Empty,
    Go,
}

struct Importer<'a> {
    memory: &'a Memory<'a>,
    /// The index of the memory's table, which comes after all other imports.
    table: u32,
    /// The start function, until it has been written.
    start: Option<u32>,
    /// Whether the table is still to be filled.
    fills: bool,
    segments: Segments,
    /// What is called through the program's table, where it can do without.
    calls: Option<Calls>,
}

impl Importer<'_> {
    fn fill(&mut self, elements: &mut ElementSection) {
        if std::mem::take(&mut self.fills) {
            self.memory.fill(self.table, elements);
        }
    }
}

impl Reencode for Importer<'_> {
    type Error = Infallible;

    fn table_index(&mut self, table: u32) -> Result<u32, Error> {
        Ok(if table >= self.table && self.memory.realloc.is_some() { table + 1 } else { table })
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_import_section(self, imports, section)?;
        imports.import(MEMORY_MODULE, MEMORY, EntityType::Memory(self.memory.ty));
        if self.memory.realloc.is_some() {
            imports.import(MEMORY_MODULE, TABLE, EntityType::Table(REALLOC_TABLE));
        }
        Ok(())
    }

    fn parse_memory_section(
        &mut self,
        _memories: &mut MemorySection,
        _section: wasmparser::MemorySectionReader<'_>,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        self.calls.iter().try_for_each(|calls| calls.add_types(types))
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        self.calls.iter().for_each(|calls| calls.add_functions(functions));
        Ok(())
    }

    fn parse_table_section(
        &mut self,
        tables: &mut TableSection,
        section: wasmparser::TableSectionReader<'_>,
    ) -> Result<(), Error> {
        if self.calls.is_some() { Ok(()) } else { utils::parse_table_section(self, tables, section) }
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_code_section(self, code, section)?;
        self.calls.iter().for_each(|calls| calls.add_code(code));
        Ok(())
    }

    fn instruction<'b>(&mut self, operator: Operator<'b>) -> Result<Instruction<'b>, Error> {
        match self.calls.as_ref().and_then(|calls| calls.instead_of(&operator)) {
            Some(function) => Ok(Instruction::Call(function)),
            None => utils::instruction(self, operator),
        }
    }

    fn parse_element_section(
        &mut self,
        elements: &mut ElementSection,
        section: wasmparser::ElementSectionReader<'_>,
    ) -> Result<(), Error> {
        if self.calls.is_none() {
            utils::parse_element_section(self, elements, section)?;
        }
        // Last, so that no segment has another index, and the engine still makes the program's own tables beforehand.
        self.fill(elements);
        Ok(())
    }

    fn parse_data(&mut self, data: &mut DataSection, segment: Data<'_>) -> Result<(), Error> {
        match (self.segments, &segment.kind) {
            (Segments::Empty, DataKind::Active { .. }) => data.passive([]),
            (Segments::Go, DataKind::Active { .. }) => return Ok(()),
            _ => return utils::parse_data(self, data, segment),
        };
        Ok(())
    }

    /// The places of sections that the program does not have.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error> {
        let after_elements = matches!(before, None | Some(SectionId::DataCount | SectionId::Code | SectionId::Data));
        if (after_elements || before == Some(SectionId::Element))
            && let Some(function_index) = self.start.take()
        {
            module.section(&StartSection { function_index });
        }
        if after_elements && self.fills {
            let mut elements = ElementSection::new();
            self.fill(&mut elements);
            module.section(&elements);
        }
        Ok(())
    }
}
