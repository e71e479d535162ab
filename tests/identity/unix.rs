//! Unix sockets: their file, and the users at their other end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, getuid};
use tempfile::TempDir;

use super::tenants;
use crate::support::{Client, HostBuilder, eventually, pipe_into, program, quoted};

/// A path for a socket, in a directory that outlives the host.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("wasmline.sock");
    (dir, path)
}

fn on(path: &Path, keys: &str) -> HostBuilder {
    tenants().listener_with(&format!("unix = {}\n{keys}", quoted(path)))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the socket is there").permissions().mode() & 0o777
}

fn uid() -> u32 {
    getuid().as_raw()
}

/// The tenant that a client of the socket is served for.
#[track_caller]
fn served_for(path: &Path) -> String {
    Client::connect_unix(path).reply("whoami").lines[0].clone()
}

#[test]
fn nc_and_socat_are_served() {
    let (_dir, path) = place();
    let host = on(&path, "tenant = \"alice\"").start();
    assert_eq!(host.stdout(), [format!("listening on unix:{}", path.display())]);
    let lines: String = (0..2000).map(|number| format!("echo {number}\n")).collect();
    let replies: String = (0..2000).map(|number| format!("{number}\n")).collect();
    pipe_into(program("nc").arg("-NU").arg(&path), &lines).exited(0).prints(&replies);
    let address = format!("UNIX-CONNECT:{}", path.display());
    pipe_into(program("socat").args(["-t", "60", "-", &address]), &lines).exited(0).prints(&replies);
}

#[test]
fn a_command_and_the_log_know_the_user() {
    let (_dir, path) = place();
    let host = on(&path, "tenant = \"alice\"").start();
    let peer = format!("unix:uid={},pid={}", uid(), std::process::id());
    Client::connect_unix(&path).reply("whoami").is(["tenant alice", &format!("peer {peer}")]);
    host.wait_for_log(&[
        "connection made",
        &peer,
        "tenant=alice",
        &format!("identity=listener unix:{}", path.display()),
    ]);
}

#[test]
fn only_the_hosts_user_may_connect_unless_the_mode_says_more() {
    let (dir, path) = place();
    let other = dir.path().join("other.sock");
    let host = on(&path, "tenant = \"alice\"")
        .listener_with(&format!("unix = {}\nmode = \"0666\"\ntenant = \"bob\"", quoted(&other)));
    let _host = host.start();
    assert_eq!((mode(&path), mode(&other)), (0o600, 0o666));
}

#[test]
fn users_have_their_tenants() {
    let (_dir, path) = place();
    let peers = format!("tenant = \"alice\"\npeers = [{{ uid = {}, tenant = \"bob\" }}]", uid());
    let host = on(&path, &peers).start();
    assert_eq!(served_for(&path), "tenant bob");
    host.wait_for_log(&["connection made", &format!("identity=uid {} on unix:", uid())]);
}

#[test]
fn another_user_gets_the_listeners_tenant_or_nothing() {
    let (_dir, path) = place();
    let others = format!("peers = [{{ uid = {}, tenant = \"bob\" }}]", uid() + 1);
    {
        let _host = on(&path, &format!("tenant = \"alice\"\n{others}")).start();
        assert_eq!(served_for(&path), "tenant alice");
    }
    fs::remove_file(&path).ok();
    let host = on(&path, &others).start();
    let mut client = Client::connect_unix(&path);
    client.send("whoami\n");
    assert_eq!(client.expect_error("denied"), "this socket is not for your user");
    client.expect_end();
    host.wait_for_log(&["client refused", &format!("uid={}", uid())]);
    assert!(!host.log().contains("line received"), "a stranger's line was run");
}

#[test]
fn a_user_that_is_taken_out_is_cut_off() {
    let (_dir, path) = place();
    let row = |uid: u32, tenant: &str| format!("{{ uid = {uid}, tenant = \"{tenant}\" }}");
    let own = row(uid(), "bob");
    let host = on(&path, &format!("peers = [{own}]")).start();
    let mut client = Client::connect_unix(&path);
    client.reply("whoami").begins_with("tenant bob");
    // A reload that leaves it where it is does nothing to it.
    host.edit_config(&own, &format!("{}, {own}", row(uid() + 1, "alice")));
    host.reload();
    client.reply("whoami").begins_with("tenant bob");
    // One that gives it to another tenant does not carry it over.
    host.edit_config(&own, &row(uid(), "alice"));
    host.reload();
    client.wait_until_cut();
    host.wait_for_log(&["connection lost", "tenant=bob", "does not know the client any more"]);
    assert_eq!(served_for(&path), "tenant alice");
}

#[test]
fn the_file_goes_with_the_host() {
    let (_dir, path) = place();
    let mut host = on(&path, "tenant = \"alice\"").start();
    assert_eq!(served_for(&path), "tenant alice");
    host.signal(Signal::TERM);
    assert_eq!(host.wait_for_exit().code(), Some(0));
    assert!(!path.exists(), "the socket was left behind");
}

#[test]
fn a_socket_that_a_killed_host_left_is_replaced() {
    let (_dir, path) = place();
    let mut host = on(&path, "tenant = \"alice\"").start();
    host.signal(Signal::KILL);
    host.wait_for_exit();
    assert!(path.exists());
    let _host = on(&path, "tenant = \"bob\"").start();
    assert_eq!(served_for(&path), "tenant bob");
}

#[test]
fn a_socket_that_somebody_listens_on_is_not() {
    let (_dir, path) = place();
    let _host = on(&path, "tenant = \"alice\"").start();
    let (_second, mut command) = on(&path, "tenant = \"bob\"").into_command();
    pipe_into(&mut command, "").exited(1).says(&[&format!("unix:{}", path.display()), "somebody listens on it"]);
    assert_eq!(served_for(&path), "tenant alice");
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let (_dir, path) = place();
    fs::write(&path, "precious").expect("a file");
    let (_host, mut command) = on(&path, "tenant = \"alice\"").into_command();
    pipe_into(&mut command, "").exited(1).says(&["a file that is no socket"]);
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
}

#[test]
fn a_client_that_never_reads_is_cut() {
    let (_dir, path) = place();
    let host = on(&path, "tenant = \"default\"").fixture("chatter").server("write-timeout = \"1s\"");
    let host = host.limit("output = \"1TiB\"").limit("timeout = \"10m\"").limit("cpu = \"10m\"").start();
    let mut client = Client::connect_unix(&path);
    client.send("chatter\n");
    host.wait_for_log(&["connection lost", "did not read"]);
    client.wait_until_cut();
}

#[test]
fn listeners_come_change_and_go_at_a_reload() {
    let (dir, path) = place();
    let host = tenants().start();
    let listener = format!("[[listener]]\nunix = {}\ntenant = \"alice\"\n", quoted(&path));
    host.edit_config("[tenants.alice]", &format!("{listener}[tenants.alice]"));
    host.reload();
    assert_eq!(served_for(&path), "tenant alice");
    eventually("it is announced", || host.listening_on().get(1) == Some(&format!("unix:{}", path.display())));

    // Its rules change and its socket stays: whoever is connected goes on, and nobody finds it closed.
    let mut before = Client::connect_unix(&path);
    before.reply("whoami").begins_with("tenant alice");
    host.edit_config("tenant = \"alice\"\n", "tenant = \"bob\"\nmode = \"0660\"\n");
    host.reload();
    assert_eq!(served_for(&path), "tenant bob");
    assert_eq!(mode(&path), 0o660);
    before.reply("whoami").begins_with("tenant alice");
    assert_eq!(host.listening_on().len(), 2, "a listener that stays is not announced again");

    // A place that is taken is not opened, and what may be meant to go to it stays where it is.
    let taken = dir.path().join("taken.sock");
    let _other = UnixListener::bind(&taken).expect("a socket");
    host.edit_config(path.to_str().expect("UTF-8"), taken.to_str().expect("UTF-8"));
    host.reload();
    host.wait_for_log(&["listener not opened", "somebody listens on it"]);
    assert_eq!(served_for(&path), "tenant bob");
    host.connect().reply("echo fine").is(["fine"]);
}
