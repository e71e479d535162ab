//! Programs that call by pointers, with and without the table that they have for it.

use wasmparser::{Parser, Payload};
use wasmtime::component::Val;

use super::super::unshim;
use super::behaviour::observe;
use super::{component, is_valid};

const WIT: &str = "package test:it;
    world it {
        import say: func(text: string);
        export number: func(at: u32) -> u32;
        export other: func(at: u32) -> u32;
        export pair: func(at: u32, a: u32, b: u32) -> u32;
        export host: func(at: u32);
    }";

/// Its table has places that are empty, one function twice, and functions of four types, of which two are alike.
const PROGRAM: &str = r#"(module $program
    (type $number (func (result i32)))
    (type $alike (func (result i32)))
    (type $pair (func (param i64 f32) (result f32 i64)))
    (type $text (func (param i32 i32)))
    (import "$root" "say" (func $say (type $text)))
    (table $table 8 8 funcref)
    (memory (export "memory") 1)
    (global $depth (mut i32) (i32.const 0))
    (elem (i32.const 1) func $seven $swap $eight $seven)
    (elem (i32.const 6) func $say)
    (func $seven (type $number) i32.const 7)
    (func $eight (type $alike) i32.const 8)
    (func $swap (type $pair) local.get 1 local.get 0)
    (func $add (param f32 i64) (result i32)
        (i32.add (i32.trunc_f32_u (local.get 0)) (i32.wrap_i64 (local.get 1))))
    (func (export "number") (param i32) (result i32) (call_indirect (type $number) (local.get 0)))
    (func (export "other") (param i32) (result i32)
        (block (result i32)
            (if (i32.eqz (local.get 0)) (then (br 1 (i32.const 99))))
            (i32.mul (call_indirect (type $alike) (local.get 0)) (i32.const 2))))
    (func (export "pair") (param i32 i32 i32) (result i32)
        (call_indirect (type $pair) (i64.extend_i32_u (local.get 1)) (f32.convert_i32_u (local.get 2)) (local.get 0))
        call $add)
    (func (export "host") (param i32) (call_indirect (type $text) (i32.const 0) (i32.const 2) (local.get 0)))
    (data (i32.const 0) "hi"))"#;

/// How many tables the program has that is a component's first module.
pub fn tables(component: &[u8]) -> u32 {
    let (mut modules, mut tables) = (0, 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => modules += 1,
            Payload::TableSection(section) if modules == 1 => tables += section.count(),
            _ => {}
        }
    }
    tables
}

#[test]
fn a_program_calls_the_same_without_its_table() {
    let written = component(WIT, PROGRAM);
    let rewritten = unshim(&written).unwrap();
    assert!(is_valid(&rewritten));
    assert_eq!((tables(&written), tables(&rewritten)), (1, 0));

    let number = Val::U32;
    let calls = vec![
        ("number", None, vec![number(1)]),
        ("number", None, vec![number(3)]),
        ("number", None, vec![number(4)]),
        ("other", None, vec![number(0)]),
        ("other", None, vec![number(1)]),
        ("other", None, vec![number(3)]),
        ("pair", None, vec![number(2), number(30), number(12)]),
        ("host", None, vec![number(6)]),
    ];
    let seen = observe(&written, &calls);
    assert_eq!(observe(&rewritten, &calls), seen);
    let expected = ["U32(7)", "U32(8)", "U32(7)", "U32(99)", "U32(14)", "U32(16)", "U32(42)", r#"["hi"]"#];
    for (seen, expected) in seen.iter().zip(expected) {
        assert!(seen.contains("None") && seen.contains(expected), "{seen}, not {expected}");
    }
}

/// A number that is no pointer to such a function never calls anything.
#[test]
fn wild_calls_trap() {
    let written = component(WIT, PROGRAM);
    let rewritten = unshim(&written).unwrap();
    let number = Val::U32;
    let pair = |at| vec![number(at), number(1), number(1)];
    let wild = [
        ("number", vec![number(0)], "IndirectCallToNull"),
        ("number", vec![number(5)], "IndirectCallToNull"),
        ("number", vec![number(7)], "IndirectCallToNull"),
        ("number", vec![number(2)], "BadSignature"),
        ("number", vec![number(6)], "BadSignature"),
        ("number", vec![number(8)], "TableOutOfBounds"),
        ("number", vec![number(u32::MAX)], "TableOutOfBounds"),
        ("number", vec![number(1 << 31)], "TableOutOfBounds"),
        ("pair", pair(1), "BadSignature"),
        ("pair", pair(0), "IndirectCallToNull"),
        ("host", vec![number(2)], "BadSignature"),
        ("host", vec![number(9)], "TableOutOfBounds"),
    ];
    for (name, arguments, reason) in wild {
        let calls = [(name, None, arguments)];
        let [before, after] = [&written, &rewritten].map(|wasm| observe(wasm, &calls).remove(0));
        assert!(before.contains(reason), "{before}");
        assert!(after.contains("UnreachableCodeReached"), "{after}");
    }
}

#[test]
fn a_table_that_may_change_stays() {
    let add = |what: &'static str| ("(data (i32.const 0)", format!("{what} (data (i32.const 0)"));
    let changes = [
        ("another table", ("(memory", "(table 1 funcref) (memory".to_owned())),
        ("exported", ("(table $table", "(table $table (export \"t\")".to_owned())),
        ("large", ("(table $table 8 8", "(table $table 129 129".to_owned())),
        ("asked for its size", add("(func (result i32) table.size)")),
        ("grown", add("(func (result i32) (table.grow (ref.null func) (i32.const 0)))")),
        ("read", add("(func (drop (table.get (i32.const 0))))")),
        ("written", add("(func (table.set (i32.const 0) (ref.null func)))")),
        ("filled", add("(func (table.fill (i32.const 0) (ref.null func) (i32.const 0)))")),
        ("copied", add("(func (table.copy (i32.const 0) (i32.const 0) (i32.const 0)))")),
        ("filled later", add("(elem func $seven) (func (table.init 2 (i32.const 0) (i32.const 0) (i32.const 0)))")),
        ("a reference", add("(func (drop (ref.func $seven)))")),
        ("a reference that is declared", add("(elem declare func $say)")),
        ("its segment refilled", add("(func (table.init 0 (i32.const 0) (i32.const 0) (i32.const 0)))")),
        ("its segment dropped", add("(func (elem.drop 0))")),
        ("a reference that is kept", add("(global funcref (ref.func $seven))")),
        (
            "filled where an import says",
            ("(elem (i32.const 6)", "(global $at i32 (i32.const 6)) (elem (global.get $at)".to_owned()),
        ),
        (
            "filled with what is computed",
            ("(elem (i32.const 6) func $say)", "(elem (i32.const 6) funcref (ref.null func))".to_owned()),
        ),
        ("filled beyond its end", ("(elem (i32.const 6)", "(elem (i32.const 8)".to_owned())),
        ("called last", ("(call_indirect (type $text)", "(return_call_indirect (type $text)".to_owned())),
    ];
    for (what, (from, to)) in changes {
        assert!(PROGRAM.contains(from), "{what}");
        let written = component(WIT, &PROGRAM.replacen(from, &to, 1));
        let rewritten = unshim(&written).unwrap_or_else(|| panic!("{what}"));
        assert!(is_valid(&rewritten), "{what}");
        assert_eq!(tables(&rewritten), tables(&written), "{what}");
    }
    let most = component(WIT, &PROGRAM.replace("8 8 funcref", "128 128 funcref"));
    assert_eq!(tables(&unshim(&most).unwrap()), 0);
}

/// A small file cannot ask for much code by it.
#[test]
fn what_is_added_has_a_bound() {
    // Types of so many parameters, and functions of the first; those of the same number modulo 256 are alike.
    let program = |types: usize, parameters: usize, callees: usize, places: usize| {
        let of = |ty: usize, format: fn(&str) -> String| -> String {
            (0..parameters).map(|bit| format(if bit < 8 && ty >> bit & 1 == 1 { "i32" } else { "i64" })).collect()
        };
        let calling = |ty| {
            let (types, zeros) = (of(ty, |ty| format!("{ty} ")), of(ty, |ty| format!("({ty}.const 0)")));
            format!("(type $t{ty} (func (param {types}))) (func (call_indirect (type $t{ty}) {zeros} (i32.const 0)))")
        };
        let callee = |at| format!("(func $c{at} (type $t0)) (elem (i32.const {at}) func $c{at})");
        let added: String = (0..types).map(calling).chain((0..callees).map(callee)).collect();
        let program = PROGRAM.replace("8 8 funcref", &format!("{places} {places} funcref"));
        component(WIT, &program.replacen("(data (i32.const 0)", &format!("{added} (data (i32.const 0)"), 1))
    };
    for (types, parameters, callees, places, is_left_out) in [
        (1, 64, 128, 128, true),
        (1, 65, 1, 128, false),
        (1, 1000, 1, 128, false),
        (256 * 8, 0, 128, 128, true),
        (50, 8, 128, 128, true),
        (120, 8, 128, 128, false),
        // The program has three types of its own.
        (125, 8, 1, 8, true),
        (126, 8, 1, 8, false),
    ] {
        let written = program(types, parameters, callees, places);
        let rewritten = unshim(&written).unwrap();
        assert!(is_valid(&rewritten));
        assert_eq!(tables(&rewritten) == 0, is_left_out, "{types} {parameters} {callees}");
        assert!(rewritten.len() < written.len() + 32 * 1024, "{} {}", written.len(), rewritten.len());
    }
}
