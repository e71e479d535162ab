//! What a sidecar asks for: it narrows what the tenant grants, and never widens it.

use std::os::unix::fs::symlink;

use super::{Program, granting, refuses_changes};
use crate::support::quoted;

#[test]
fn a_sidecar_narrows_to_a_part() {
    let (builder, data) = granting("as = \"/data\"\nwrite = true");
    let sidecar = "[[grants.directory]]\npath = \"/data/sub\"\nwrite = true\n";
    let host = builder.sidecar("wasi-files", sidecar).start();
    let mut program = Program::of(&host);
    assert_eq!(program.line("directories"), "/data/sub");
    assert_eq!(program.line("read /data/sub/note"), "in sub");
    assert_eq!(program.line("write /data/sub/new x"), "done");
    assert!(program.line("read /data/note").starts_with("refused: "));
    assert!(program.line("open ../note").starts_with("refused: "));
    assert!(data.join("sub/new").exists());
}

#[test]
fn a_sidecar_that_only_reads_does_not_write() {
    let (builder, data) = granting("write = true");
    let sidecar = format!("[[grants.directory]]\npath = {}\n", quoted(&data));
    let host = builder.sidecar("wasi-files", &sidecar).start();
    assert_eq!(Program::of(&host).does("read", data.join("note")), "in data");
    refuses_changes(&host, &data, &data);
    host.wait_for_log(&["denied", "the command's sidecar would need: [[grants.directory]]", "write = true"]);
}

#[test]
fn a_sidecar_that_asks_for_more_gets_what_the_tenant_allows() {
    let (builder, data) = granting("");
    let host = builder.sidecar("wasi-files", "[[grants.directory]]\npath = \"/\"\nwrite = true\n").start();
    assert_eq!(Program::of(&host).line("directories"), data.display().to_string());
    refuses_changes(&host, &data, &data);
}

#[test]
fn a_sidecar_that_asks_for_nothing_gets_nothing() {
    for sidecar in ["[grants]\n", "[[grants.directory]]\npath = \"/elsewhere\"\n"] {
        let (builder, data) = granting("write = true");
        let host = builder.sidecar("wasi-files", sidecar).start();
        let mut program = Program::of(&host);
        assert_eq!(program.line("directories"), "");
        assert!(program.does("read", data.join("note")).starts_with("refused: "));
    }
}

/// The author of a sidecar must not choose where the way into the tenant's directory leads.
#[test]
fn a_sidecars_part_is_found_without_following_links() {
    let (builder, data) = granting("as = \"/data\"");
    symlink("/etc", data.join("etc")).expect("a link");
    let host = builder.sidecar("wasi-files", "[[grants.directory]]\npath = \"/data/etc\"\n").start();
    assert_eq!(Program::of(&host).line("directories"), "");
    host.wait_for_log(&["a granted directory is missing", "symbolic link"]);
}
