//! Small components made from text, for what no compiler would emit.

/// A memory, as most of the guests here have it.
pub const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// An allocator good enough for the few words of a request: always the same place.
pub const REALLOC: &str = r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)"#;

/// A `run` that succeeds: its result lies in memory that is all zeros.
pub const RUN: &str = r#"(func (export "run") (param i32 i32) (result i32) i32.const 16)"#;

/// A command of the world `wasmline:command` made of one core module, which exports `memory`, `realloc` and `run`.
#[track_caller]
pub fn command(fields: &[&str]) -> Vec<u8> {
    component("", &format!("(core module $main {})", fields.join("\n")), "(core instance $main (instantiate $main))")
}

/// A command that imports an interface which no host offers.
#[track_caller]
pub fn importing(interface: &str) -> Vec<u8> {
    let import = format!(r#"(import "{interface}" (instance (export "engage" (func))))"#);
    let module = format!("(core module $main {MEMORY} {REALLOC} {RUN})");
    component(&import, &module, "(core instance $main (instantiate $main))")
}

/// A command whose one core module is instantiated this many times.
#[track_caller]
pub fn with_core_instances(count: usize) -> Vec<u8> {
    let module = format!("(core module $main {MEMORY} {REALLOC} {RUN})");
    let instances = "(core instance (instantiate $main))".repeat(count - 1);
    component("", &module, &format!("{instances} (core instance $main (instantiate $main))"))
}

/// A command that takes host objects, timers that never ring soon, without ever giving one back.
#[track_caller]
pub fn hoarding_host_objects() -> Vec<u8> {
    let imports = r#"
        (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $timer))
            (export "subscribe-duration" (func (param "when" u64) (result (own $timer))))))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))"#;
    let run = r#"(func (export "run") (param i32 i32) (result i32)
        (loop $again (drop (call $subscribe (i64.const 1000000000000))) (br $again))
        unreachable)"#;
    let import = r#"(import "host" "subscribe" (func $subscribe (param i64) (result i32)))"#;
    let module = format!("(core module $main {import} {MEMORY} {REALLOC} {run})");
    let instances = r#"(core instance $main (instantiate $main
        (with "host" (instance (export "subscribe" (func $subscribe))))))"#;
    component(imports, &module, instances)
}

/// A command that has the host call it within its own call of the host, and so on: it asks who its client is, and asks
/// again from the allocator that is to find room for the answer.
#[track_caller]
pub fn recursing_through_the_host() -> Vec<u8> {
    // The allocator goes by a table, because it must be known before there is what it calls.
    let imports = r#"
        (import "wasmline:command/connection@0.1.0" (instance $connection (export "peer" (func (result string)))))
        (core module $store
            (memory (export "memory") 1)
            (table (export "table") 1 funcref)
            (type $realloc (func (param i32 i32 i32 i32) (result i32)))
            (func (export "realloc") (type $realloc)
                (call_indirect (type $realloc)
                    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 0))))
        (core instance $store (instantiate $store))
        (alias core export $store "memory" (core memory $memory))
        (alias core export $store "realloc" (core func $realloc))
        (core func $peer (canon lower (func $connection "peer") (memory $memory) (realloc $realloc)))"#;
    let module = format!(
        r#"(core module $main
            (import "host" "peer" (func $peer (param i32)))
            (import "store" "memory" (memory 1))
            (import "store" "table" (table 1 funcref))
            (export "memory" (memory 0))
            (func $again (param i32 i32 i32 i32) (result i32) (call $peer (i32.const 64)) i32.const 1024)
            (elem (i32.const 0) func $again)
            {REALLOC}
            (func (export "run") (param i32 i32) (result i32) (call $peer (i32.const 64)) i32.const 2048))"#
    );
    let instances = r#"(core instance $main (instantiate $main
        (with "host" (instance (export "peer" (func $peer))))
        (with "store" (instance $store))))"#;
    component(imports, &module, instances)
}

/// The same component with other bytes: a custom section with these contents, which nobody reads.
pub fn with_custom_section(component: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.push(0);
    // The section holds its name, which is one byte after its length, and the rest.
    leb128(&mut bytes, 2 + contents.len());
    bytes.extend(b"\x01p");
    bytes.extend(contents);
    bytes
}

fn leb128(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A command that logs this text.
#[track_caller]
pub fn logging(text: &str) -> Vec<u8> {
    logging_memory(1, text.len(), &format!("(data (i32.const 0) {})", literal(text)))
}

/// A command that logs one record of this many zeros.
#[track_caller]
pub fn logging_zeros(bytes: usize) -> Vec<u8> {
    logging_memory(bytes / 65_536 + 1, bytes, "")
}

/// A command that logs the first bytes of its memory. They lie in a module of their own, because the host's function
/// must know the memory before there is an instance that calls it.
#[track_caller]
fn logging_memory(pages: usize, bytes: usize, data: &str) -> Vec<u8> {
    let imports = format!(
        r#"
        (import "wasmline:command/log@0.1.0" (instance $log
            (type $level (enum "debug" "info" "warn" "error"))
            (export "level" (type $shown (eq $level)))
            (export "write" (func (param "level" $shown) (param "text" string)))))
        (core module $store (memory (export "memory") {pages}) {data})
        (core instance $store (instantiate $store))
        (alias core export $store "memory" (core memory $memory))
        (core func $write (canon lower (func $log "write") (memory $memory)))"#
    );
    let module = format!(
        r#"(core module $main
            (import "host" "write" (func $write (param i32 i32 i32)))
            (import "store" "memory" (memory 1))
            (export "memory" (memory 0))
            {REALLOC}
            (func (export "run") (param i32 i32) (result i32)
                (call $write (i32.const 1) (i32.const 0) (i32.const {bytes}))
                i32.const 2048))"#
    );
    let instances = r#"(core instance $main (instantiate $main
        (with "host" (instance (export "write" (func $write))))
        (with "store" (instance $store))))"#;
    component(&imports, &module, instances)
}

/// A command that has a MiB of memory from the start, writes here and there in it, and replies nothing.
#[track_caller]
pub fn large() -> Vec<u8> {
    let run = r#"(func (export "run") (param i32 i32) (result i32)
        (i32.store (i32.const 0x41000) (i32.const 1))
        (i32.store (i32.const 0xf0000) (i32.const 1))
        (i32.const 16))"#;
    command(&[r#"(memory (export "memory") 16)"#, REALLOC, run])
}

/// A command that fails with this text.
#[track_caller]
pub fn failing(text: &str) -> Vec<u8> {
    // The result at 16 is an `err`, and its string lies at 64.
    let data = format!(
        r#"(data (i32.const 16) "\01\00\00\00\40\00\00\00\{:02x}\00\00\00") (data (i32.const 64) {})"#,
        text.len(),
        literal(text)
    );
    command(&[MEMORY, REALLOC, RUN, &data])
}

/// A command that fails with a text of so many bytes.
#[track_caller]
pub fn failing_at_length(bytes: usize) -> Vec<u8> {
    let memory = format!(r#"(memory (export "memory") {})"#, bytes / 65_536 + 2);
    let run = format!(
        r#"(func (export "run") (param i32 i32) (result i32)
            (memory.fill (i32.const 65536) (i32.const 120) (i32.const {bytes}))
            (i32.store8 (i32.const 16) (i32.const 1))
            (i32.store (i32.const 20) (i32.const 65536))
            (i32.store (i32.const 24) (i32.const {bytes}))
            (i32.const 16))"#
    );
    command(&[&memory, REALLOC, &run])
}

/// A command that fills most of 64 MiB so many times, without a loop or a call between which it could be interrupted.
#[track_caller]
pub fn filling_memory(times: usize) -> Vec<u8> {
    let fill = "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 62914560))".repeat(times);
    let run = format!(
        r#"(func (export "run") (param i32 i32) (result i32) (drop (memory.grow (i32.const 960))) {fill} (i32.const 16))"#
    );
    command(&[MEMORY, REALLOC, &run])
}

/// A command that writes pieces of so many bytes to standard output without end, and never asks whether it may.
#[track_caller]
pub fn writing_unasked(bytes: usize) -> Vec<u8> {
    let imports = r#"
        (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
        (alias export $errors "error" (type $error))
        (import "wasi:io/streams@0.2.0" (instance $streams
            (export "output-stream" (type $stream (sub resource)))
            (alias outer 1 $error (type $failure))
            (export "error" (type $shown (eq $failure)))
            (type $why (variant (case "last-operation-failed" (own $shown)) (case "closed")))
            (export "stream-error" (type $stream-error (eq $why)))
            (export "[method]output-stream.write"
                (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
        (alias export $streams "output-stream" (type $stream))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $stream (type $out))
            (export "output-stream" (type $shown (eq $out)))
            (export "get-stdout" (func (result (own $shown))))))
        (core module $store (memory (export "memory") 4))
        (core instance $store (instantiate $store))
        (alias core export $store "memory" (core memory $memory))
        (core func $get (canon lower (func $stdout "get-stdout")))
        (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $memory)))"#;
    let module = format!(
        r#"(core module $main
            (import "host" "get" (func $get (result i32)))
            (import "host" "write" (func $write (param i32 i32 i32 i32)))
            (import "store" "memory" (memory 4))
            (export "memory" (memory 0))
            {REALLOC}
            (func (export "run") (param i32 i32) (result i32) (local $out i32)
                (local.set $out (call $get))
                (loop $again
                    (call $write (local.get $out) (i32.const 4096) (i32.const {bytes}) (i32.const 64))
                    (br $again))
                unreachable))"#
    );
    let instances = r#"(core instance $main (instantiate $main
        (with "host" (instance (export "get" (func $get)) (export "write" (func $write))))
        (with "store" (instance $store))))"#;
    component(imports, &module, instances)
}

/// A component that exports nothing that can be run, by names of so many bytes.
#[track_caller]
pub fn exporting_names(count: usize, bytes: usize) -> Vec<u8> {
    let export =
        |number| format!(r#"(func (export "{}{number}") (canon lift (core func $main "f")))"#, "x".repeat(bytes));
    let exports: String = (0..count).map(export).collect();
    parse(&format!(
        r#"(component
            (core module $main (func (export "f")))
            (core instance $main (instantiate $main))
            {exports})"#
    ))
}

/// A program for WASI preview 1, as older compilers make them: a core module that prints a line and exits.
#[track_caller]
pub fn preview1(line: &str, status: u32) -> Vec<u8> {
    preview1_printing(&format!("{line}\n"), status)
}

/// The same for any text.
#[track_caller]
pub fn preview1_printing(text: &str, status: u32) -> Vec<u8> {
    let length = text.len();
    let text = literal(text);
    parse(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) {text})
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const {length}))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
                (call $proc_exit (i32.const {status}))))"#
    ))
}

/// A core module that is no program of any kind that the host knows.
#[track_caller]
pub fn core_module_without_start() -> Vec<u8> {
    parse(r#"(module (func (export "add") (param i32 i32) (result i32) local.get 0))"#)
}

/// A component that exports something else than `run`.
#[track_caller]
pub fn without_run() -> Vec<u8> {
    parse(
        r#"(component
            (core module $main (func (export "walk")))
            (core instance $main (instantiate $main))
            (func (export "walk") (canon lift (core func $main "walk"))))"#,
    )
}

/// The frame of a command: `$main` is a core instance with `memory`, `realloc` and `run`.
#[track_caller]
fn component(imports: &str, module: &str, instances: &str) -> Vec<u8> {
    parse(&format!(
        r#"(component
            {imports}
            {module}
            {instances}
            (func $run (param "args" (list string)) (result (result (error string)))
                (canon lift (core func $main "run")
                    (memory $main "memory") (realloc (func $main "realloc"))))
            (export "run" (func $run)))"#
    ))
}

/// The text's bytes as a string of the text format.
fn literal(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!("\"{bytes}\"")
}

#[track_caller]
fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
