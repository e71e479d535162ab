//! `comphash` against the tools that one would hash a file with.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::load::Exchange;
use crate::peers::{Bounds, Kind, start};
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::{Result, cores};

const SPEED: &str = "openssl speed";
const DGST: &str = "openssl dgst -sha1";
const SHA1SUM: &str = "sha1sum";

const SERVERS: &[(Kind, &str)] = &[
    (Kind::Host, "wasmline, `comphash`"),
    (Kind::HostOnAllCores, "wasmline, `comphash`, both cores"),
    (Kind::Twisted, "Twisted, `comphash`"),
];

/// Who hashes.
enum Hasher {
    Server {
        name: &'static str,
        exchange: Exchange,
    },
    Tool {
        name: &'static str,
        program: &'static str,
        arguments: &'static [&'static str],
    },
    /// The hash function alone, on one buffer, for a second.
    Speed,
}

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let megabyte = 1 << 20;
    let small = report(bench, "1MiB", "1 MiB", megabyte, bench.either(50, 5))?;
    // A quick run has no time for a file of its own.
    let large = match bench.arguments.quick {
        true => report(bench, "64MiB", "64 MiB", 64 * megabyte, 1)?,
        false => report(bench, "1GiB", "1 GiB", 1024 * megabyte, 1)?,
    };
    Ok(vec![small, large])
}

fn report(bench: &Bench, name: &str, title: &str, size: usize, times: usize) -> Result<Report> {
    let path = bench.files.hashed().join(format!("{name}.bin"));
    make_file(&path, size).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let path = path.to_str().ok_or("the path of the file is not UTF-8")?;
    let expected = tool(SHA1SUM, &[], path)?;
    let digest = expected.split(' ').next().unwrap_or_default().to_owned();

    let (mut servers, mut hashers) = (Vec::new(), Vec::new());
    for (kind, name) in SERVERS.iter().copied().filter(|(kind, _)| bench.has(*kind)) {
        let server = start(bench, kind, Bounds::LINES)?;
        hashers.push(Hasher::Server { name, exchange: Exchange::open(server.address)? });
        servers.push(server);
    }
    hashers.push(Hasher::Tool { name: DGST, program: "openssl", arguments: &["dgst", "-sha1", "-r"] });
    hashers.push(Hasher::Tool { name: SHA1SUM, program: SHA1SUM, arguments: &[] });
    hashers.push(Hasher::Speed);

    let rows = super::rounds(
        bench.rounds(),
        &mut hashers,
        |hasher| hasher.name().to_owned(),
        |hasher| {
            let rate = match hasher {
                Hasher::Speed => cores::on(&[bench.cores.server], openssl_speed)?,
                _ => {
                    let began = Instant::now();
                    for _ in 0..times {
                        hasher.hash(bench.cores.server, path, &digest)?;
                    }
                    (size * times) as f64 / began.elapsed().as_secs_f64()
                }
            };
            Ok(vec![rate / 1e6])
        },
    );
    fs::remove_file(path).map_err(|error| format!("cannot remove {path}: {error}"))?;
    Ok(Report {
        id: format!("comphash {name}"),
        title: format!("SHA-1 of a file of {title} in the page cache"),
        metrics: vec![Metric { name: "MB/s", digits: 0 }],
        references: vec![SPEED, DGST, SHA1SUM],
        rows: rows?,
        charted: false,
        notes: vec![
            "`openssl speed` hashes one buffer of 16 KiB and reads no file; the tools are started for each file."
                .to_owned(),
            "With both cores the host reads a large file on the one and hashes it on the other; nobody else here does."
                .to_owned(),
        ],
    })
}

impl Hasher {
    fn name(&self) -> &'static str {
        match self {
            Hasher::Server { name, .. } | Hasher::Tool { name, .. } => name,
            Hasher::Speed => SPEED,
        }
    }

    fn hash(&mut self, core: usize, path: &str, digest: &str) -> Result {
        match self {
            Hasher::Server { exchange, .. } => {
                exchange.expect(&format!("comphash {path}\n"), &format!("File hash is : {digest}\n"))
            }
            Hasher::Tool { program, arguments, .. } => {
                let output = cores::on(&[core], || tool(program, arguments, path))?;
                if output.starts_with(digest) { Ok(()) } else { Err(format!("it printed {output:?}, not {digest}")) }
            }
            Hasher::Speed => Ok(()),
        }
    }
}

fn tool(program: &str, arguments: &[&str], path: &str) -> Result<String> {
    output(Command::new(program).args(arguments).arg(path))
}

/// Bytes per second.
fn openssl_speed() -> Result<f64> {
    let mut command = Command::new("openssl");
    let text = output(command.args(["speed", "-seconds", "1", "-bytes", "16384", "-evp", "sha1"]))?;
    parse_speed(&text).ok_or_else(|| format!("cannot understand openssl speed: {text:?}"))
}

/// Its last line is `sha1  2149790.85k`, in thousands of bytes per second.
fn parse_speed(text: &str) -> Option<f64> {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("sha1"))?;
    Some(line.trim().strip_suffix('k')?.parse::<f64>().ok()? * 1000.0)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?} printed what is not text: {error}"))
}

/// Bytes that do not repeat soon. Writing them leaves them in the page cache.
fn make_file(path: &Path, size: usize) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size / 8 {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    // What is not on the disk yet would be written while others are measured.
    file.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_read() {
        let text = "version: 3.0\ntype          16384 bytes\nsha1           2149790.85k\n";
        assert_eq!(parse_speed(text), Some(2_149_790_850.0));
        assert_eq!(parse_speed("type 16384 bytes\n"), None);
    }
}
