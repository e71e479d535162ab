//! What becomes of components of which kind. Whether they still do the same is in [`behaviour`].

mod behaviour;
mod calls;

use std::fs;

use wasmparser::{Parser, Payload, Validator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::adapt::adapt;
use super::unshim;
use crate::built;

/// A component of the usual form, piece by piece as wit-component writes it.
const USUAL: &str = r#"(component
    (import "say" (func $say (param "text" string)))
    (import "words" (func $words (result (list string))))
    (core module $program
        (import "env" "say" (func $say (param i32 i32)))
        (import "env" "words" (func $words (param i32)))
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $next)
            (global.set $next (i32.add (global.get $next) (i32.const 32))))
        (func (export "run") (call $say (i32.const 0) (i32.const 2)))
        (func (export "init")
            (call $words (i32.const 16))
            (call $say (i32.load (i32.load (i32.const 16))) (i32.load offset=4 (i32.load (i32.const 16)))))
        (data (i32.const 0) "hi"))
    (core module $shim
        (type $two (func (param i32 i32)))
        (type $one (func (param i32)))
        (table (export "$imports") 2 2 funcref)
        (func (export "0") (type $two) local.get 0 local.get 1 i32.const 0 call_indirect (type $two))
        (func (export "1") (type $one) local.get 0 i32.const 1 call_indirect (type $one)))
    (core module $fixup
        (import "" "0" (func (param i32 i32)))
        (import "" "1" (func (param i32)))
        (import "" "$imports" (table 2 2 funcref))
        (elem (i32.const 0) func 0 1))
    (core instance $shim (instantiate $shim))
    (alias core export $shim "0" (core func $say-jump))
    (alias core export $shim "1" (core func $words-jump))
    (core instance $env (export "say" (func $say-jump)) (export "words" (func $words-jump)))
    (core instance $program (instantiate $program (with "env" (instance $env))))
    (alias core export $program "memory" (core memory $memory))
    (alias core export $shim "$imports" (core table $imports))
    (alias core export $program "cabi_realloc" (core func $realloc))
    (core func $say-core (canon lower (func $say) (memory $memory)))
    (core func $words-core (canon lower (func $words) (memory $memory) (realloc $realloc)))
    (core instance $filling
        (export "$imports" (table $imports))
        (export "0" (func $say-core))
        (export "1" (func $words-core)))
    (core instance $fixup (instantiate $fixup (with "" (instance $filling))))
    (func (export "run") (canon lift (core func $program "run"))))"#;

/// What later versions of wit-component make otherwise: the fixup takes what it needs from where it is, and calls what
/// initialises the program.
const LATER: &[(&str, &str)] = &[
    ("(import \"\" \"0\"", "(import \"actual\" \"0\""),
    ("(import \"\" \"1\"", "(import \"actual\" \"1\""),
    (
        "(import \"\" \"$imports\"",
        "(import \"main\" \"init\" (func $init)) (start $init) (import \"shim\" \"$imports\"",
    ),
    ("(alias core export $shim \"$imports\" (core table $imports))", ""),
    ("(export \"$imports\" (table $imports))", ""),
    (
        "(with \"\" (instance $filling))",
        "(with \"actual\" (instance $filling)) (with \"main\" (instance $program)) (with \"shim\" (instance $shim))",
    ),
];

fn edited(what: &str, edits: &[(&str, &str)]) -> Vec<u8> {
    let mut text = USUAL.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{what}: {from}");
        text = text.replace(from, to);
    }
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Makes a component of a module as every toolchain does.
fn component(wit: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// How many core modules a component has, and how many core instances are made of them.
fn counts(component: &[u8]) -> (usize, usize) {
    let (mut modules, mut instances) = (0, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => modules += 1,
            Payload::InstanceSection(section) => {
                let made = section.into_iter().filter(|it| matches!(it, Ok(wasmparser::Instance::Instantiate { .. })));
                instances += made.count();
            }
            _ => {}
        }
    }
    (modules, instances)
}

/// The contents of the segments of each core module.
fn segments(component: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut modules = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => modules.push(Vec::new()),
            Payload::DataSection(section) => {
                let segments = section.into_iter().map(|segment| segment.unwrap().data.to_vec());
                modules.last_mut().unwrap().extend(segments);
            }
            _ => {}
        }
    }
    modules
}

/// What the component imports and exports, as WIT has it.
fn world(component: &[u8]) -> String {
    let decoded = wit_component::decode(component).unwrap();
    let mut printer = wit_component::WitPrinter::default();
    printer.print(decoded.resolve(), decoded.package(), &[]).unwrap();
    printer.output.to_string()
}

fn is_valid(component: &[u8]) -> bool {
    Validator::new().validate_all(component).is_ok()
}

#[test]
fn two_modules_are_left_of_three() {
    let usual = wat::parse_str(USUAL).unwrap();
    // A number takes no place in memory, and may have a jump nevertheless.
    let without_realloc =
        [("$words (result (list string))", "$words (param \"number\" u32)"), (" (realloc $realloc)", "")];
    for component in [usual, edited("without realloc", &without_realloc), edited("later", LATER)] {
        assert_eq!(counts(&component), (3, 3));
        let rewritten = unshim(&component).unwrap();
        Validator::new().validate_all(&rewritten).unwrap();
        assert_eq!(counts(&rewritten), (2, 2));
        assert_eq!(world(&rewritten), world(&component));
        assert!(unshim(&rewritten).is_none());
    }
}

/// The engine maps what a module's own memory holds at first, and copies what another's does.
#[test]
fn a_memory_goes_with_what_it_holds_at_first() {
    type Segments = &'static [&'static [u8]];
    let names = ("(func (export \"run\") (call", "(func (export \"drop\") (data.drop 0)) (func (export \"run\") (call");
    let large = ("(memory (export \"memory\") 1)", "(memory (export \"memory\") 3)");
    let passive = ("\"hi\"))", "\"hi\") (data \"passive\"))");
    let unknown = ("(data (i32.const 0)", "(data (offset (i32.add (i32.const 0) (i32.const 0)))");
    let beyond = ("(data (i32.const 0)", "(data (i32.const 65535)");
    let none = ("(data (i32.const 0) \"hi\")", "");
    let cases: [(&str, &[_], [Segments; 2]); 8] = [
        ("usual", &[], [&[b"hi"], &[]]),
        ("large", &[large], [&[b"hi"], &[]]),
        ("large without contents", &[large, none], [&[], &[]]),
        ("passive", &[passive], [&[b"hi"], &[b"passive"]]),
        // The function means the same segment as before, and finds it as it would be: used up.
        ("named", &[names], [&[b"hi"], &[b""]]),
        ("named, passive", &[names, passive], [&[b"hi"], &[b"", b"passive"]]),
        // What is not known to fit is left to be found out at each instantiation.
        ("unknown", &[unknown], [&[], &[b"hi"]]),
        ("beyond", &[beyond], [&[], &[b"hi"]]),
    ];
    for (what, edits, expected) in cases {
        let rewritten = unshim(&edited(what, edits)).unwrap_or_else(|| panic!("{what}"));
        assert!(is_valid(&rewritten), "{what}");
        // The program comes first, as it did.
        assert_eq!(segments(&rewritten), [expected[1], expected[0]], "{what}");
    }
}

#[test]
fn an_initialiser_stays_a_module_that_comes_after_all() {
    let wit = "package test:it; world it { import say: func(text: string); export run: func(); }";
    let module = r#"(module
        (import "$root" "say" (func $say (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "_initialize") (call $say (i32.const 0) (i32.const 2)))
        (func (export "run"))
        (data (i32.const 0) "hi"))"#;
    let component = component(wit, module);
    assert_eq!(counts(&component), (4, 4));
    let rewritten = unshim(&component).unwrap();
    assert_eq!(counts(&rewritten), (3, 3));
    assert!(is_valid(&rewritten));
}

#[test]
fn what_is_of_another_form_stays_as_it_is() {
    let changes: &[(&str, &[(&str, &str)])] = &[
        ("a start function", &[("(data (i32.const 0)", "(func $start) (start $start) (data (i32.const 0)")]),
        ("a second memory", &[("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1) (memory 1)")]),
        (
            "a large memory that would be filled by copying",
            &[
                ("(memory (export \"memory\") 1)", "(memory (export \"memory\") 3)"),
                ("(data (i32.const 0)", "(data (offset (i32.add (i32.const 0) (i32.const 0)))"),
            ],
        ),
        (
            "a memory from elsewhere",
            &[
                ("(memory (export \"memory\") 1)", "(import \"m\" \"m\" (memory 1)) (export \"memory\" (memory 0))"),
                (
                    "(core instance $shim ",
                    "(core module $m (memory (export \"m\") 1)) (core instance $m (instantiate $m)) (core instance $shim ",
                ),
                ("(with \"env\"", "(with \"m\" (instance $m)) (with \"env\""),
            ],
        ),
        (
            "an import by the name of ours",
            &[
                (
                    "(import \"env\" \"say\"",
                    "(import \"wasmline:memory\" \"f\" (func (param i32))) (import \"env\" \"say\"",
                ),
                (
                    "(with \"env\"",
                    "(with \"wasmline:memory\" (instance (export \"f\" (func $words-jump)))) (with \"env\"",
                ),
            ],
        ),
        ("a jump that does more", &[("i32.const 1 call_indirect", "nop i32.const 1 call_indirect")]),
        (
            "a jump that does something else",
            &[("local.get 0 local.get 1 i32.const 0", "local.get 1 local.get 0 i32.const 0")],
        ),
        ("a jump with a local", &[("(type $one) local.get 0", "(type $one) (local i32) local.get 0")]),
        ("a jump to another's place", &[("local.get 0 i32.const 1", "local.get 0 i32.const 0")]),
        ("a jump to no place", &[("local.get 0 i32.const 1", "local.get 0 i32.const 2")]),
        ("a shim with a memory", &[("(table (export \"$imports\")", "(memory 1) (table (export \"$imports\")")]),
        ("a shim that is larger than it was made for", &[("(i32.const 0) func 0 1", "(i32.const 0) func 0")]),
        ("a fixup that fills other places", &[("(elem (i32.const 0) func 0 1)", "(elem (i32.const 1) func 1)")]),
        ("a fixup that mixes them up", &[("func 0 1", "func 1 0")]),
        ("a fixup that traps", &[("func 0 1", "func 0 1 1")]),
        ("a fixup that fills twice", &[("func 0 1)", "func 0 1) (elem (i32.const 0) func 0)")]),
        ("a fixup with a function", &[("func 0 1)", "func 0 1) (func)")]),
        (
            "a fixup that calls the host",
            &[
                ("(import \"say\"", "(import \"go\" (func $go)) (import \"say\""),
                ("(import \"\" \"0\"", "(import \"\" \"go\" (func $go)) (start $go) (import \"\" \"0\""),
                ("func 0 1", "func 1 2"),
                (
                    "(core instance $filling",
                    "(core func $go (canon lower (func $go))) (core instance $filling (export \"go\" (func $go))",
                ),
            ],
        ),
        (
            "another that takes from the shim",
            &[(
                "(core instance $program ",
                "(core module $other (import \"\" \"f\" (func (param i32))))
                 (core instance (instantiate $other (with \"\" (instance (export \"f\" (func $words-jump))))))
                 (core instance $program ",
            )],
        ),
        (
            "another that takes the shim's table",
            &[(
                "(func (export \"run\") (canon",
                "(core module $other (import \"\" \"t\" (table 2 funcref)))
                 (core instance (instantiate $other (with \"\" (instance (export \"t\" (table $imports))))))
                 (func (export \"run\") (canon",
            )],
        ),
        (
            "a module that is made first",
            &[("(core instance $shim ", "(core module $m) (core instance (instantiate $m)) (core instance $shim ")],
        ),
        ("a second shim", &[("(core instance $env ", "(core instance (instantiate $shim)) (core instance $env ")]),
        (
            "a second fixup",
            &[(
                "(func (export \"run\") (canon",
                "(core instance (instantiate $fixup (with \"\" (instance $filling)))) (func (export \"run\") (canon",
            )],
        ),
        (
            "two allocators",
            &[
                ("(func (export \"run\") (call", "(export \"other\" (func 2)) (func (export \"run\") (call"),
                (
                    "(func $say) (memory $memory)",
                    "(func $say) (memory $memory) (realloc (core func $program \"other\"))",
                ),
            ],
        ),
        (
            "a module as a value",
            &[("(func (export \"run\") (canon", "(export \"m\" (core module $program)) (func (export \"run\") (canon")],
        ),
        (
            "a module that another component takes",
            &[("(core instance $shim ", "(component (alias outer 1 0 (core module))) (core instance $shim ")],
        ),
        (
            "a destructor",
            &[("(core instance $env ", "(type (resource (rep i32) (dtor (func $words-jump)))) (core instance $env ")],
        ),
        (
            "an asynchronous import",
            &[
                ("(func $say (param \"text\" string))", "(func $say async (param \"text\" string))"),
                ("(func $say) (memory $memory)", "(func $say) (memory $memory) async"),
                ("(param i32 i32)", "(param i32 i32) (result i32)"),
                ("(call $say (", "(call $begin ("),
                (
                    "(func (export \"run\") (call",
                    "(func $begin (param i32 i32) (drop (call $say (local.get 0) (local.get 1)))) (func (export \"run\") (call",
                ),
            ],
        ),
    ];
    assert!(unshim(&wat::parse_str(USUAL).unwrap()).is_some());
    for (what, edits) in changes {
        let component = edited(what, edits);
        if let Err(error) = Validator::new().validate_all(&component) {
            panic!("{what}: {error}");
        }
        assert!(unshim(&component).is_none(), "{what}");
    }
}

#[test]
fn what_has_no_shim_stays_as_it_is() {
    for text in ["(component)", "(component (core module (memory 1)))", "(module (memory 1))"] {
        assert!(unshim(&wat::parse_str(text).unwrap()).is_none(), "{text}");
    }
    assert!(unshim(b"").is_none());
    assert!(unshim(b"text").is_none());
    // A program of preview 1 and its adapter import from each other, so what is between them stays.
    let write = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    let program = format!(r#"(module {write} (memory (export "memory") 1) (func (export "_start")))"#);
    let adapted = adapt(&wat::parse_str(program).unwrap()).unwrap();
    assert!(is_valid(&adapted) && unshim(&adapted).is_none());
}

/// Whatever is wrong with a component, it is neither made valid nor a reason to panic.
#[test]
fn what_is_damaged_stays_as_it_is() {
    let usual = wat::parse_str(USUAL).unwrap();
    for length in 0..usual.len() {
        assert!(unshim(&usual[..length]).is_none_or(|it| is_valid(&usual[..length]) && is_valid(&it)), "{length}");
    }
    for index in 0..usual.len() {
        for change in [1, 2, 0x10, 0x80, 0xff] {
            let mut damaged = usual.clone();
            damaged[index] ^= change;
            if let Some(rewritten) = unshim(&damaged) {
                assert!(is_valid(&damaged) && is_valid(&rewritten), "{index} ^ {change}");
            }
        }
    }
}

/// The shipped commands are why this is done, and the fixtures stand for what people write.
#[test]
fn what_is_shipped_is_instantiated_in_two_modules() {
    let mut seen = 0;
    for directory in built::directories() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".wasm") {
                continue;
            }
            let wasm = fs::read(&path).unwrap();
            let rewritten = unshim(&wasm);
            let rewritten = rewritten.unwrap_or_else(|| panic!("{name} has {:?} modules and instances", counts(&wasm)));
            assert!(is_valid(&rewritten), "{name}");
            assert_eq!(counts(&rewritten), (2, 2), "{name}");
            assert_eq!((calls::tables(&wasm), calls::tables(&rewritten)), (1, 0), "{name}");
            assert_eq!(world(&rewritten), world(&wasm), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 7, "{seen}");
}
