//! Memory of the host: constant, whatever passes through it.

use crate::support::{HostBuilder, machine, pipe_into, program};

const GIB: u64 = 1 << 30;
const MIB_IN_KIB: u64 = 1024;

#[test]
fn hashing_a_gibibyte_takes_less_than_64_mib() {
    let builder = HostBuilder::new().command("comphash").limit("timeout = \"10m\"");
    let files = builder.files();
    let file = machine::sparse_file(files.join("gibibyte"), GIB);
    let host = builder.may_hash(files).start();
    let mut client = host.connect();
    client.reply("echo warm").is(["warm"]);
    machine::reset_peak_memory(host.pid());
    let idle = machine::memory_kib(host.pid(), "VmRSS");

    let reply = client.reply(format!("comphash {}", file.display()));
    let peak = machine::memory_kib(host.pid(), "VmHWM");
    let sum = pipe_into(program("sha1sum").arg(&file), "").exited(0).out();
    assert_eq!(reply.begins("File hash is : "), &sum[..40]);
    assert!(peak - idle < 64 * MIB_IN_KIB, "the host grew from {idle} KiB to {peak} KiB");
    println!("idle {idle} KiB, peak {peak} KiB");
}

#[test]
fn ten_thousand_lines_leave_nothing_behind() {
    let host = HostBuilder::new().start();
    let mut client = host.connect();
    let mut run = |lines: usize| {
        let sending = client.send_aside("echo x\n".repeat(lines).into_bytes());
        client.expect("x\n".repeat(lines));
        sending.join().expect("no panic").expect("the host takes all lines");
    };
    run(2_000);
    let before = machine::memory_kib(host.pid(), "VmRSS");
    run(10_000);
    let after = machine::memory_kib(host.pid(), "VmRSS");
    assert!(after < before + 8 * MIB_IN_KIB, "the host grew from {before} KiB to {after} KiB");
}

#[test]
fn guests_that_used_much_memory_give_it_back() {
    let host = HostBuilder::new().fixture("hog").start();
    let mut client = host.connect();
    client.reply("hog 32").is(["ok"]);
    let before = machine::memory_kib(host.pid(), "VmRSS");
    for _ in 0..20 {
        client.reply("hog 32").is(["ok"]);
    }
    let after = machine::memory_kib(host.pid(), "VmRSS");
    assert!(after < before + 8 * MIB_IN_KIB, "the host grew from {before} KiB to {after} KiB");
}
