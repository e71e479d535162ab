//! From records to TOML that can be pasted.

use super::text::{DENIED, MORE};
use super::*;

fn suggested(lines: &[Value]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(file.path(), text).unwrap();
    suggest(&[file.path().to_owned()], None).unwrap()
}

fn ran(grants: Value) -> Value {
    serde_json::json!({"event": "invocation", "tenant": "t", "command": "c", "grants": grants})
}

fn tail(lines: &str, file: &str) -> Value {
    serde_json::json!({"kind": "process", "program": "/usr/bin/tail", "args": ["-n", lines, file]})
}

fn denial(access: Value, key: &str) -> Value {
    serde_json::json!({"event": "denial", "tenant": "t", "command": "c", "key": key, "access": access})
}

fn vain(grant: &str) -> Value {
    serde_json::json!({"event": "would-be-denied", "tenant": "t", "command": "c", "key": "tenant", "grant": grant})
}

#[test]
fn runs_become_rules() {
    let text = suggested(&[
        ran(serde_json::json!([tail("10", "/var/log/a"), {"kind": "digest", "path": "/etc/hosts"}])),
        ran(serde_json::json!([tail("20", "/var/log/b"), {"kind": "variable", "name": "LANG"}])),
        ran(serde_json::json!([
            {"kind": "directory", "path": "/data", "host": "/srv/t", "write": false},
            {"kind": "directory", "path": "/data", "host": "/srv/t", "write": true},
        ])),
    ]);
    let expected = "# What 3 recorded lines of the tenant `t` needed.\n\n[[tenants.t.grants.process]]\n\
         program = \"/usr/bin/tail\"\nargs = [\"-n\", { int = [10, 20] }, { path-under = [\"/var/log\"] }]\n\n\
         [tenants.t.grants.digest]\nread = [\n  \"/etc\",\n]\n\n[[tenants.t.grants.directory]]\n\
         path = \"/srv/t\"\nas = \"/data\"\nwrite = true\n\n\
         [tenants.t.grants.environment]   # the values are yours to give\n\"LANG\" = \"\"\n";
    assert_eq!(text, expected);
}

#[test]
fn what_was_denied_is_marked_and_can_be_pasted() {
    let text = suggested(&[
        ran(serde_json::json!([{"kind": "digest", "path": "/etc/hosts"}])),
        denial(serde_json::json!({"kind": "digest", "path": "/root/x"}), "tenant"),
        denial(tail("1", "/x"), "tenant"),
        denial(serde_json::json!({"kind": "digest", "path": "/srv/x"}), "sidecar"),
        vain("[[tenants.t.grants.process]]\nprogram = \"/bin/x\"\nargs = [{ int = [1, 2] }]"),
        vain("[[tenants.t.grants.process]]\nprogram = \"/bin/x\"\nargs = [{ int = [1, 2] }]"),
        vain("[tenants.t.grants.digest]\nread = [\"/opt\"]"),
        vain("[[tenants.t.grants.directory]]\npath = \"/d\"\nwrite = true"),
        vain("[tenants.t.grants.environment]\n\"A B\" = \"\""),
        vain("[tenants.t.grants.tasks]\nlist = true"),
        ran(serde_json::json!([{"kind": "tasks", "stop": true}])),
    ]);
    let grants = grants_in(&text, "t").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(grants.process.len(), 2, "{text}");
    assert_eq!(grants.digest.read, ["/etc", "/opt", "/root"].map(PathBuf::from));
    assert!(grants.directory[0].write && grants.environment.contains_key("A B"));
    assert!(grants.tasks.list && grants.tasks.stop);
    assert_eq!(text.matches(DENIED).count(), 7, "{text}");
    assert!(text.contains("# The sidecar of `c` does not ask for this"), "{text}");
    assert!(text.contains("#   [grants.digest]\n#   read = [\n#     \"/srv\","), "{text}");
}

#[test]
fn what_the_configuration_would_refuse_is_not_suggested() {
    let denied = |path: &str| denial(serde_json::json!({"kind": "digest", "path": path}), "tenant");
    let text = suggested(&[denied("/var/log/../../etc/passwd"), denied("/"), denied("x")]);
    assert!(text.ends_with("needed nothing.\n"), "{text}");
    let text = suggested(&[denied("/vmlinuz"), denied("/var/log/../x")]);
    assert!(text.contains("read = [\n  \"/vmlinuz\",   # was denied\n]"), "{text}");
}

#[test]
fn what_a_sidecar_asks_for_beside_it_is_noted() {
    let narrow = suggested(&[
        denial(serde_json::json!({"kind": "digest", "path": "/root/x"}), "tenant"),
        denial(tail("1", "/x"), "tenant"),
        vain("[tenants.t.grants.digest]\nread = [\"/\"]"),
        vain("[[tenants.t.grants.process]]\nprogram = \"/usr/bin/tail\"\nargs = [{ any = true }]"),
    ]);
    let grants = grants_in(&narrow, "t").unwrap_or_else(|| panic!("{narrow}"));
    assert_eq!(grants.digest.read, [PathBuf::from("/root")], "{narrow}");
    assert!(grants.process.len() == 1 && grants.process[0].args.len() == 3, "{narrow}");
    assert_eq!(narrow.matches(MORE).count(), 2, "{narrow}");
}

#[test]
fn to_write_is_not_proposed_where_nothing_was_written() {
    let directory = |path: &str, write: bool| serde_json::json!({"kind": "directory", "path": path, "write": write});
    let both = "[[tenants.t.grants.directory]]\npath = \"/d/data\"\nwrite = true\n\
                [[tenants.t.grants.directory]]\npath = \"/usr/share\"\nwrite = true";
    let read = suggested(&[ran(serde_json::json!([directory("/d/data", false)])), vain(both)]);
    let grants = grants_in(&read, "t").unwrap_or_else(|| panic!("{read}"));
    assert_eq!((grants.directory.len(), grants.directory[0].write), (1, false), "{read}");
    assert!(!read.contains(DENIED) && read.matches(MORE).count() == 2, "{read}");
    assert!(read.contains(&format!("{MORE} path = \"/usr/share\", write = true\n")), "{read}");
    // What was written, or was to be, is proposed as ever, and nothing of it noted.
    let written = suggested(&[
        ran(serde_json::json!([directory("/d/data", false)])),
        denial(directory("/d/data", true), "tenant"),
        vain("[[tenants.t.grants.directory]]\npath = \"/d/data\"\nwrite = true"),
    ]);
    let grants = grants_in(&written, "t").unwrap_or_else(|| panic!("{written}"));
    assert!(grants.directory.len() == 1 && grants.directory[0].write, "{written}");
    assert!(written.contains(DENIED) && !written.contains(MORE), "{written}");
}
