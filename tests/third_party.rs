//! Programs that nobody wrote for wasmline, run as they are: a core module of WASI preview 1, and components.

use std::fs;

use crate::support::{HostBuilder, Session, nc, pipe_into, quoted};

#[track_caller]
fn with(name: &str) -> HostBuilder {
    HostBuilder::new().third_party(name)
}

#[test]
fn words_are_arguments_and_output_is_the_reply() {
    let host = with("jaq").start();
    let mut client = host.connect();
    client.reply("jaq -n '[range(3)] | map(. * 2) | add'").is(["6"]);
    client
        .reply(r#"jaq -n -c --arg name Ada '{name: $name, length: ($name | length)}'"#)
        .is([r#"{"name":"Ada","length":3}"#]);
    client.reply("jaq -n -r '\"Zoë\\n\", 1'").is(["Zoë", "", "1"]);
}

#[test]
fn what_a_program_fails_with_is_its_status() {
    let host = with("jaq").third_party("rg").start();
    let mut client = host.connect();
    let reply = client.reply("jaq -n '1 +'");
    let told = reply.fails_with("exit");
    assert!(told.iter().any(|line| line.contains("unexpected end of input")), "{reply:?}");
    client.reply("rg").fails_with("exit");
    let version = client.reply("rg --version");
    assert_eq!(version.lines[0], "ripgrep 15.2.0");
}

#[test]
fn a_grep_searches_a_granted_directory_over_nc() {
    let builder = with("rg");
    let data = builder.files().join("data");
    fs::create_dir_all(data.join("src")).expect("directories");
    fs::write(data.join("notes"), "nothing here\nTODO: write more\n").expect("a file");
    fs::write(data.join("src/main.rs"), "fn main() {}\n// TODO: do more\n// todo\n").expect("a file");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}\nas = \"/data\"", quoted(&data));
    let host = builder.more(&grant).start();
    let typed = "rg --sort path -n 'TODO: \\w+ more' /data\n\
                 rg -i --count-matches todo /data/src\n\
                 rg --files-with-matches write /data\n";
    pipe_into(&mut nc(&host), typed).exited(0).prints(
        "/data/notes:2:TODO: write more\n/data/src/main.rs:2:// TODO: do more\n\
         /data/src/main.rs:2\n\
         /data/notes\n",
    );
    // As a grep should, it says by its status that there is nothing.
    assert!(host.connect().reply("rg absent /data").fails_with("exit").is_empty());
}

#[test]
fn a_grep_sees_no_file_that_is_not_granted() {
    let builder = with("rg");
    fs::create_dir(builder.files().join("data")).expect("a directory");
    let secret = builder.file("secret", "TODO: hide\n");
    let grant = format!("[[tenants.default.grants.directory]]\npath = {}", quoted(&builder.files().join("data")));
    for host in [with("rg").start(), builder.more(&grant).start()] {
        for path in [&*secret.display().to_string(), "/etc/passwd", "/", "."] {
            let reply = host.connect().reply(format!("rg -e TODO -e root {path}"));
            let told = reply.fails_with("exit");
            assert!(told.iter().all(|line| line.starts_with("rg: ") || line.starts_with("Running with ")), "{reply:?}");
        }
    }
}

#[test]
fn a_filter_reads_the_lines_that_follow() {
    let host = with("jaq").start();
    let mut client = host.connect();
    client.send("jaq -c .name\n{\"name\": \"Ada\"}\n");
    // It answers before its input has ended.
    client.expect("\"Ada\"\n");
    client.send("{\"name\":\n[1, 2]}\n.\n");
    client.expect("[1,2]\n");
    client.reply("echo on").is(["on"]);
}

#[test]
fn a_filter_takes_what_nc_pipes_into_it() {
    let host = with("jaq").start();
    let typed =
        "jaq -r '.people[] | .name'\n{\"people\": [{\"name\": \"Ada\"},\n {\"name\": \"Grace\"}]}\n.\necho on\n";
    pipe_into(&mut nc(&host), typed).exited(0).prints("Ada\nGrace\non\n");
    // The end of the connection's input is the end of the program's.
    pipe_into(&mut nc(&host), "jaq -s 'add'\n1 2\n3\n").exited(0).prints("6\n");
}

#[test]
fn an_interpreter_is_an_interactive_session_over_nc() {
    let host = with("scheme").start();
    let mut nc = Session::start(&mut nc(&host));
    nc.types("scheme");
    // The prompt has no line end, and is there before anything is typed.
    nc.shows("> ");
    nc.types("(define (cube x) (* x x x))");
    nc.shows("#f\n> ");
    nc.types("(cube 12)");
    nc.shows("1728\n> ");
    nc.types("(cube (cube 2))");
    nc.shows("512\n> ");
    nc.types(".");
    nc.types("echo on");
    nc.shows("on\n");
    // Every session is new.
    nc.types("scheme");
    nc.shows("> ");
    nc.types("(cube 12)");
    nc.shows("ERROR: procedure expected\n> ");
    nc.types(".");
    nc.ends();
}

#[test]
fn an_interpreter_that_does_not_end_is_stopped() {
    let host = with("scheme").limit("cpu = \"1s\"").start();
    let mut client = host.connect();
    client.send("scheme\n(define (forever) (forever))\n(forever)\n");
    client.expect("> #f\n> \n");
    client.expect_error("cpu");
    client.reply("echo on").is(["on"]);
}
