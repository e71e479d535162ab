//! A component with and without its shim, side by side.

use wasmtime::component::{Component, Linker, Resource, ResourceType, Val};
use wasmtime::{Engine, ResourceLimiter, Store, Trap, WasmBacktrace};

use super::super::unshim;
use super::{LATER, component, counts, edited};
use crate::engine;

const WIT: &str = "package test:it;
    interface host {
        resource thing { constructor(name: string); name: func() -> string; }
        say: func(text: string);
        words: func() -> list<string>;
        add: func(a: u32, b: u32) -> u32;
        fail: func(text: string);
    }
    interface answers { ask: func(question: string) -> string; }
    world it {
        import host;
        export answers;
        export echo: func(words: list<string>) -> list<string>;
        export fetch: func() -> list<string>;
        export name: func(of: string) -> string;
        export sum: func(a: u32, b: u32) -> u32;
        export indirect: func(at: u32) -> u32;
        export grow: func(pages: u32) -> s32;
        export read: func(at: u32) -> u32;
        export fill: func();
        export refill: func(bytes: u32);
        export trap: func();
        export fail: func(text: string);
    }";

/// It allocates by counting up, has tables and segments of its own, and places from 16 on for what is returned.
const PROGRAM: &str = r#"(module $program
    (import "test:it/host" "say" (func $say (param i32 i32)))
    (import "test:it/host" "words" (func $words (param i32)))
    (import "test:it/host" "add" (func $add (param i32 i32) (result i32)))
    (import "test:it/host" "fail" (func $host-fail (param i32 i32)))
    (import "test:it/host" "[constructor]thing" (func $thing (param i32 i32) (result i32)))
    (import "test:it/host" "[method]thing.name" (func $thing-name (param i32 i32)))
    (import "test:it/host" "[resource-drop]thing" (func $thing-drop (param i32)))
    (type $number (func (result i32)))
    (table $numbers 4 8 funcref)
    (table $more 2 funcref)
    (memory (export "memory") 1 3)
    (global $next (mut i32) (i32.const 1024))
    (elem (table $numbers) (i32.const 0) func $seven $eight)
    (elem $late func $nine)
    (elem (table $more) (i32.const 1) func $nine)
    (func $seven (result i32) i32.const 7)
    (func $eight (result i32) i32.const 8)
    (func $nine (result i32) i32.const 9)
    (func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
        (if (i32.eq (local.get $new) (i32.const 13)) (then unreachable))
        (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.get $next)
        (global.set $next (i32.add (global.get $next) (local.get $new))))
    (func $return (param $ptr i32) (param $len i32) (result i32)
        (i32.store (i32.const 16) (local.get $ptr))
        (i32.store (i32.const 20) (local.get $len))
        i32.const 16)
    (func (export "echo") (param i32 i32) (result i32)
        (call $say (i32.const 0) (i32.const 5))
        (call $return (local.get 0) (local.get 1)))
    (func (export "cabi_post_echo") (param i32) (i32.store (i32.const 32) (local.get 0)))
    (func (export "fetch") (result i32) (call $words (i32.const 16)) i32.const 16)
    (func (export "name") (param i32 i32) (result i32) (local $thing i32)
        (local.set $thing (call $thing (local.get 0) (local.get 1)))
        (call $thing-name (local.get $thing) (i32.const 16))
        (call $thing-drop (local.get $thing))
        i32.const 16)
    (func (export "sum") (param i32 i32) (result i32) (call $add (local.get 0) (local.get 1)))
    (func (export "indirect") (param i32) (result i32)
        (table.init $numbers $late (i32.const 2) (i32.const 0) (i32.const 1))
        (drop (table.grow $numbers (ref.null func) (i32.const 2)))
        (table.set $numbers (i32.const 5) (table.get $more (i32.const 1)))
        (i32.add
            (i32.mul (table.size $numbers) (i32.const 100))
            (call_indirect $numbers (type $number) (local.get 0))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "read") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "fill") (memory.init $passive (i32.const 40) (i32.const 2) (i32.const 4)) (data.drop $begin))
    (func (export "refill") (param i32) (memory.init $begin (i32.const 40) (i32.const 0) (local.get 0)))
    (func $trap (export "trap") unreachable)
    (func (export "fail") (param i32 i32) (call $host-fail (local.get 0) (local.get 1)))
    (func (export "test:it/answers#ask") (param i32 i32) (result i32)
        (call $say (local.get 0) (local.get 1))
        (call $return (local.get 0) (local.get 1)))
    (data $begin (i32.const 0) "began")
    (data $passive "unused")
    (data (i32.const 3) "in"))"#;

/// What the component did to the host.
#[derive(Default)]
struct Host {
    said: Vec<String>,
    dropped: u32,
    memory: usize,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.memory += desired - current;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, _desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::<Host>::new(engine);
    let mut host = linker.instance("test:it/host").unwrap();
    host.resource("thing", ResourceType::host::<Host>(), |mut store, _| {
        store.data_mut().dropped += 1;
        Ok(())
    })
    .unwrap();
    host.func_wrap("say", |mut store, (text,): (String,)| {
        store.data_mut().said.push(text);
        Ok(())
    })
    .unwrap();
    host.func_wrap("words", |_, ()| Ok((vec!["one".to_owned(), "twenty-two".to_owned()],))).unwrap();
    host.func_wrap("add", |_, (a, b): (u32, u32)| Ok((a + b,))).unwrap();
    host.func_wrap("fail", |_, (text,): (String,)| -> wasmtime::Result<()> { wasmtime::bail!("{text}") }).unwrap();
    host.func_wrap("[constructor]thing", |mut store, (name,): (String,)| {
        store.data_mut().said.push(name);
        Ok((Resource::<Host>::new_own(1),))
    })
    .unwrap();
    host.func_wrap("[method]thing.name", |mut store, (_,): (Resource<Host>,)| {
        Ok((format!("thing {}", store.data_mut().said.join(",")),))
    })
    .unwrap();
    let mut root = linker.root();
    root.func_wrap("say", |mut store, (text,): (String,)| {
        store.data_mut().said.push(text);
        Ok(())
    })
    .unwrap();
    root.func_wrap("words", |_, ()| Ok((vec!["one".to_owned(), "twenty-two".to_owned()],))).unwrap();
    linker
}

/// Calls functions of one instance, one after another, and tells all that can be seen of it.
pub fn observe(wasm: &[u8], calls: &[(&str, Option<&str>, Vec<Val>)]) -> Vec<String> {
    let engine = engine::compiling().unwrap();
    #[expect(clippy::disallowed_methods, reason = "this process serves nobody")]
    let component = Component::new(&engine, wasm).unwrap();
    let mut store = Store::new(&engine, Host::default());
    store.limiter(|host| host);
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker(&engine).instantiate(&mut store, &component).unwrap();
    let mut seen = Vec::new();
    for (function, interface, arguments) in calls {
        let interface = interface.map(|name| instance.get_export_index(&mut store, None, name).unwrap());
        let index = instance.get_export_index(&mut store, interface.as_ref(), function).unwrap();
        let function = instance.get_func(&mut store, index).unwrap();
        let mut results = vec![Val::Bool(false); function.ty(&store).results().len()];
        let called = function.call(&mut store, arguments, &mut results);
        let failed = called.err().map(|error| {
            let trap = error.downcast_ref::<Trap>().copied();
            let frames = error.downcast_ref::<WasmBacktrace>().into_iter().flat_map(WasmBacktrace::frames);
            // Of the program alone: the shim was one, and what takes its place may be.
            let frames = frames.filter(|frame| frame.module().name() == Some("program"));
            let frames: Vec<_> =
                frames.map(|frame| (frame.func_index(), frame.func_name().map(str::to_owned))).collect();
            (trap, error.root_cause().to_string(), frames)
        });
        let Host { said, dropped, memory } = store.data();
        seen.push(format!("{results:?} {failed:?} {said:?} {dropped} {memory}"));
    }
    seen
}

fn text(text: &str) -> Val {
    Val::String(text.into())
}

#[test]
fn a_component_does_the_same_without_its_shim() {
    let written = component(WIT, PROGRAM);
    let rewritten = unshim(&written).unwrap();
    assert_eq!((counts(&written), counts(&rewritten)), ((3, 3), (2, 2)));
    let number = Val::U32;
    let usual = vec![
        ("echo", None, vec![Val::List(vec![text("a"), text(""), text("long enough")])]),
        ("read", None, vec![number(32)]),
        ("fetch", None, vec![]),
        ("fetch", None, vec![]),
        ("name", None, vec![text("it")]),
        ("sum", None, vec![number(3), number(4)]),
        ("indirect", None, vec![number(0)]),
        ("indirect", None, vec![number(2)]),
        ("ask", Some("test:it/answers"), vec![text("why?")]),
        ("read", None, vec![number(65_532)]),
        ("grow", None, vec![number(1)]),
        ("read", None, vec![number(131_068)]),
        // The memory's own most is three pages.
        ("grow", None, vec![number(2)]),
        ("grow", None, vec![number(1)]),
        ("read", None, vec![number(0)]),
        ("fill", None, vec![]),
        ("read", None, vec![number(40)]),
        ("refill", None, vec![number(0)]),
    ];
    let seen = observe(&written, &usual);
    assert_eq!(observe(&rewritten, &usual), seen);
    // It is the calls that are the same, and not their failing.
    assert!(seen.iter().all(|seen| seen.contains("None")), "{seen:#?}");
    assert!(seen[1].contains("U32(16)"), "{seen:#?}");
    assert!(seen[3].contains("twenty-two"), "{seen:#?}");
    assert!(seen[4].contains("thing begin,it"), "{seen:#?}");
    assert!(seen[6].contains("607") && seen[7].contains("809"), "{seen:#?}");
    assert!(seen[12].contains("-1") && seen[13].contains("[S32(2)]"), "{seen:#?}");
    let used = u32::from_le_bytes(*b"used");
    assert!(seen[16].contains(&format!("U32({used})")), "{seen:#?}");

    let failing = [
        ("trap", vec![], "UnreachableCodeReached"),
        ("read", vec![number(65_533)], "MemoryOutOfBounds"),
        // What has filled the memory is used up.
        ("refill", vec![number(1)], "MemoryOutOfBounds"),
        ("indirect", vec![number(3)], "IndirectCallToNull"),
        ("indirect", vec![number(99)], "TableOutOfBounds"),
        ("fail", vec![text("no luck")], "no luck"),
        // Its allocator traps, in a call of the host's and on the way back from one.
        ("echo", vec![Val::List(vec![text("thirteen long")])], "UnreachableCodeReached"),
        ("name", vec![text("sevens!")], "UnreachableCodeReached"),
    ];
    for (name, arguments, reason) in failing {
        let calls = [(name, None, arguments)];
        let seen = observe(&written, &calls);
        assert!(seen[0].contains(reason), "{seen:?}");
        assert_eq!(observe(&rewritten, &calls), seen, "{name}");
    }
}

#[test]
fn a_program_is_initialised_once_its_imports_are_there() {
    let written = edited("later", LATER);
    let rewritten = unshim(&written).unwrap();
    let calls = [("run", None, vec![]), ("run", None, vec![])];
    let seen = observe(&written, &calls);
    assert!(seen[1].contains(r#"["one", "hi", "hi"]"#), "{seen:?}");
    assert_eq!(observe(&rewritten, &calls), seen);
}

#[test]
fn segments_that_do_not_fit_trap_as_before() {
    let wit = "package test:it; world it { import say: func(text: string) -> string; export run: func(); }";
    let program = |segment: &str| {
        format!(
            r#"(module
                (import "$root" "say" (func $say (param i32 i32 i32)))
                (table 1 funcref)
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
                (func (export "run"))
                {segment})"#
        )
    };
    let instantiated = |wasm: &[u8]| {
        let engine = engine::compiling().unwrap();
        #[expect(clippy::disallowed_methods, reason = "this process serves nobody")]
        let component = Component::new(&engine, wasm).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker.root().func_wrap("say", |_, (text,): (String,)| Ok((text,))).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        linker.instantiate(&mut store, &component).err().map(|error| error.downcast_ref::<Trap>().copied())
    };
    let (data, element) = (Some(Some(Trap::MemoryOutOfBounds)), Some(Some(Trap::TableOutOfBounds)));
    for (segment, trap) in [
        ("(data (i32.const 65533) \"abc\")", None),
        ("(data (i32.const 65536) \"\")", None),
        ("(data (i32.const 65534) \"abc\")", data),
        ("(data (i32.const 65537) \"\")", data),
        ("(data (i32.const -1) \"ab\")", data),
        ("(data (offset (i32.add (i32.const 65530) (i32.const 4))) \"abc\")", data),
        ("(data (i32.const 0) \"abc\") (data (i32.const 65534) \"abc\")", data),
        ("(elem (i32.const 1) func $say)", element),
        ("(elem (i32.const 1) func $say) (data (i32.const 65534) \"abc\")", element),
    ] {
        let written = component(wit, &program(segment));
        let rewritten = unshim(&written).unwrap();
        assert_eq!(counts(&rewritten), (2, 2));
        assert_eq!((instantiated(&written), instantiated(&rewritten)), (trap, trap), "{segment}");
    }
}
