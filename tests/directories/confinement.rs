//! Paths that would lead out of a directory, or to what is no file.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::{Program, granting};
use crate::support::machine;

#[test]
fn nothing_leads_out_of_a_directory() {
    let (builder, data) = granting("write = true");
    builder.file("secret", "out of reach");
    symlink("../secret", data.join("up")).expect("a link");
    symlink("/etc", data.join("absolute")).expect("a link");
    symlink("/proc/self/root/etc", data.join("magic")).expect("a link");
    symlink("sub/note", data.join("inside")).expect("a link");
    let host = builder.start();
    let mut program = Program::of(&host);
    let escapes = [
        "../secret",
        "up",
        "absolute/hostname",
        "magic/hostname",
        "/etc/hostname",
        "sub/../../secret",
        "sub/../up",
        "..",
    ];
    for act in ["open", "open-to-write", "touch"] {
        for path in escapes {
            let answer = program.line(&format!("{act} {path}"));
            assert!(answer.starts_with("refused: "), "{act} {path}: {answer}");
        }
    }
    for path in escapes {
        let path = data.join(path);
        for act in ["read", "list", "remove", "rmdir", "mkdir", "truncate", "size"] {
            // A link itself may be removed; what it leads to may not.
            if act == "remove" && fs::symlink_metadata(&path).is_ok_and(|status| status.is_symlink()) {
                continue;
            }
            let answer = program.does(act, &path);
            assert!(answer.starts_with("refused: "), "{act} {}: {answer}", path.display());
        }
    }
    let outside = data.join("../moved").display().to_string();
    assert!(program.line(&format!("rename {} {outside}", data.join("note").display())).starts_with("refused: "));
    assert!(program.line(&format!("link {} {outside}", data.join("note").display())).starts_with("refused: "));
    assert!(program.line("symlink /etc/hostname absolute-link").starts_with("refused: "));
    assert_eq!(fs::read_to_string(data.join("../secret")).expect("it is there"), "out of reach");
    // A link that stays inside is followed, for programs rely on them.
    assert_eq!(program.does("read", data.join("inside")), "in sub");
}

/// A FIFO that nobody writes, a device, a socket: each is refused at once, and holds no thread.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let (builder, data) = granting("write = true");
    machine::fifo(&data.join("fifo"));
    let _socket = UnixListener::bind(data.join("socket")).expect("a socket");
    let dev = "[[tenants.default.grants.directory]]\npath = \"/dev\"\nwrite = true";
    let host = builder.more(dev).start();
    let mut program = Program::of(&host);
    for path in [data.join("fifo"), data.join("socket"), "/dev/zero".into(), "/dev/null".into(), "/dev/tty".into()] {
        for act in ["read", "head", "truncate"] {
            let answer = program.does(act, &path);
            assert!(answer.starts_with("refused: "), "{act} {}: {answer}", path.display());
        }
        let answer = program.line(&format!("write {} x", path.display()));
        assert!(answer.starts_with("refused: "), "write {}: {answer}", path.display());
    }
    // Setting its times does not open it.
    assert_eq!(program.line("touch fifo"), "done");
    assert_eq!(program.line("touch socket"), "done");
}
