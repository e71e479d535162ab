//! Makes a component of a core module of WASI preview 1.
//!
//! The published adapter does it, all but one thing: it tells the host only that a program failed, and not with which
//! status, for which preview 2 had no function until 0.2.12. An import of `proc_exit` is therefore led past it, to an
//! adapter of a few instructions that hands the status on.

use std::convert::Infallible;
use std::fmt::Display;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Module, TypeSection,
    ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The interface and the function by which an adapted module exits, and the same as text.
const EXIT: &str = "wasi:cli/exit@0.2.12";
const EXIT_WITH_CODE: &str = "exit-with-code";
const EXIT_WIT: &str = "package wasi:cli@0.2.12;\n\
                        interface exit { exit: func(status: result); exit-with-code: func(status-code: u8); }\n\
                        world adapter { import exit; }";
/// What the module's import is called from then on.
const EXIT_ADAPTER: &str = "wasmline_preview1_exit";
const PROC_EXIT: &str = "proc_exit";
/// What a program exports to be run.
const START: &str = "_start";

/// Makes a component of a core module of WASI preview 1.
///
/// # Errors
/// When it is a module of another kind, or damaged.
pub fn adapt(module: &[u8]) -> Result<Vec<u8>, String> {
    encode(module).map_err(|error| format!("is a core module that is no program of WASI preview 1: {error}"))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let Led { module, exits, starts } = lead_exit_aside(module).map_err(shown)?;
    if !starts {
        return Err("it does not export `_start`".to_owned());
    }
    let mut encoder = ComponentEncoder::default()
        .module(&module)
        .and_then(|it| it.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER))
        .map_err(shown)?;
    if exits {
        encoder = encoder.adapter(EXIT_ADAPTER, &exit_adapter()?).map_err(shown)?;
    }
    encoder.encode().map_err(shown)
}

/// An error with its causes, on one line.
fn shown(error: impl Display) -> String {
    format!("{error:#}")
}

/// A module whose import of `proc_exit` was renamed.
struct Led {
    module: Vec<u8>,
    /// Whether it has that import.
    exits: bool,
    /// Whether it can be run at all.
    starts: bool,
}

fn lead_exit_aside(module: &[u8]) -> Result<Led, reencode::Error> {
    struct Leader {
        exits: bool,
        starts: bool,
    }
    impl Reencode for Leader {
        type Error = Infallible;

        fn parse_import_section(
            &mut self,
            imports: &mut ImportSection,
            section: wasmparser::ImportSectionReader<'_>,
        ) -> Result<(), reencode::Error> {
            for import in section.into_imports() {
                let mut import = import?;
                if import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME && import.name == PROC_EXIT {
                    import.module = EXIT_ADAPTER;
                    self.exits = true;
                }
                utils::parse_import(self, imports, import)?;
            }
            Ok(())
        }

        fn parse_export(
            &mut self,
            exports: &mut ExportSection,
            export: wasmparser::Export<'_>,
        ) -> Result<(), reencode::Error> {
            self.starts |= export.name == START && export.kind == wasmparser::ExternalKind::Func;
            utils::parse_export(self, exports, export)
        }
    }
    let (mut leader, mut led) = (Leader { exits: false, starts: false }, Module::new());
    leader.parse_core_module(&mut led, wasmparser::Parser::new(0), module)?;
    Ok(Led { module: led.finish(), exits: leader.exits, starts: leader.starts })
}

/// A module that exports `proc_exit` and calls the host with what it is given.
fn exit_adapter() -> Result<Vec<u8>, String> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    let mut imports = ImportSection::new();
    imports.import(EXIT, EXIT_WITH_CODE, EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export(PROC_EXIT, ExportKind::Func, 1);
    let mut body = Function::new([]);
    body.instructions().local_get(0).call(0).unreachable().end();
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    let mut module = module.finish();

    let mut resolve = Resolve::default();
    let package = resolve.push_str("exit.wit", EXIT_WIT).map_err(shown)?;
    let world = resolve.select_world(&[package], Some("adapter")).map_err(shown)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(shown)?;
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(fields: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {fields} (memory (export \"memory\") 1))")).unwrap()
    }

    #[test]
    fn programs_are_adapted_whatever_they_import() {
        let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
        let write = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
        let start = r#"(func (export "_start"))"#;
        for imports in ["", exit, write, &format!("{exit}{write}")] {
            let component = adapt(&module(&format!("{imports}{start}"))).unwrap();
            let exports = wit_component::decode(&component).unwrap();
            let wit_component::DecodedWasm::Component(resolve, world) = exports else { panic!("no component") };
            let mut exports = resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key));
            assert!(exports.any(|export| export.starts_with("wasi:cli/run@0.2.")), "{imports}");
            let mut imported = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key));
            assert_eq!(imported.any(|import| import == EXIT), imports.contains(PROC_EXIT), "{imports}");
        }
    }

    #[test]
    fn other_modules_are_refused_with_a_reason() {
        for fields in ["", r#"(import "env" "f" (func)) (func (export "_start"))"#] {
            let error = adapt(&module(fields)).err().unwrap_or_default();
            assert!(error.contains("no program of WASI preview 1"), "{error}");
        }
    }
}
