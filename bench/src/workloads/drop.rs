//! From a file's rename into the commands directory to the first reply of the new command.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::Result;
use crate::load::Exchange;
use crate::peers::{Bounds, Kind, start};
use crate::report::{Metric, Report};
use crate::run::Bench;
use crate::server::{Server, pause};

/// How often a client asks whether the command is there. More would take the compiler's time.
const ASK_AGAIN: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);

pub fn measure(bench: &Bench) -> Result<Vec<Report>> {
    let host = start(bench, Kind::Host, Bounds::LINES)?;
    let original = bench.files.commands().join("echo.wasm");
    let original = fs::read(&original).map_err(|error| format!("cannot read {}: {error}", original.display()))?;
    let drops = Drops { bench, host: &host };

    // Bytes that no cache has seen, also not one of another run.
    let mut number = [0; 16];
    getrandom(&mut number, GetRandomFlags::empty()).map_err(|error| format!("no random bytes: {error}"))?;
    let mut number = u128::from_le_bytes(number);
    let mut unseen = || {
        number = number.wrapping_add(1);
        with_section(&original, &number.to_le_bytes())
    };
    let seen = unseen();
    drops.time("seen", &seen)?;
    let mut number = 0;
    let rows = super::rounds(
        bench.rounds(),
        &mut [true, false],
        |cached| if *cached { "its code in the cache" } else { "to be compiled" }.to_owned(),
        |cached| {
            number += 1;
            let time = if *cached {
                drops.time(&format!("c{number}"), &seen)?
            } else {
                drops.time(&format!("n{number}"), &unseen())?
            };
            Ok(vec![time.as_secs_f64() * 1e3])
        },
    )?;
    Ok(vec![Report {
        id: "drop".to_owned(),
        title: format!("From rename to first reply, a component of {} KiB", original.len() / 1024),
        metrics: vec![Metric { name: "ms", digits: 0 }],
        references: Vec::new(),
        rows,
        charted: false,
        notes: vec!["Less is better. The compiler is a process of its own, on the server's core as well.".to_owned()],
    }])
}

struct Drops<'a> {
    bench: &'a Bench<'a>,
    host: &'a Server,
}

impl Drops<'_> {
    /// Drops the bytes as a command, and removes it again once it has replied.
    fn time(&self, name: &str, bytes: &[u8]) -> Result<Duration> {
        let (staged, dropped) =
            (self.place(self.bench.files.staging(), name), self.place(self.bench.files.commands(), name));
        fs::write(&staged, bytes).map_err(|error| format!("cannot write {}: {error}", staged.display()))?;
        let mut exchange = Exchange::open(self.host.address)?;
        let (hello, unknown) = ("hello\n", "Command not found.\n");
        let began = Instant::now();
        fs::rename(&staged, &dropped).map_err(|error| format!("cannot rename {}: {error}", staged.display()))?;
        let time = loop {
            let reply = exchange.ask(&format!("{name} hello\n"), &[hello, unknown])?;
            if reply == hello {
                break began.elapsed();
            }
            if reply != unknown || began.elapsed() > LONGEST {
                return Err(format!("the command that was dropped replied {reply:?}"));
            }
            pause(ASK_AGAIN);
        };
        fs::remove_file(&dropped).map_err(|error| format!("cannot remove {}: {error}", dropped.display()))?;
        while exchange.ask(&format!("{name} hello\n"), &[hello, unknown])? == hello {
            if began.elapsed() > LONGEST {
                return Err("a command that was removed is still there".to_owned());
            }
            pause(ASK_AGAIN);
        }
        Ok(time)
    }

    fn place(&self, dir: PathBuf, name: &str) -> PathBuf {
        dir.join(format!("{name}.wasm"))
    }
}

/// The component with a custom section more, which changes nothing but its hash.
pub fn with_section(component: &[u8], contents: &[u8; 16]) -> Vec<u8> {
    const NAME: &[u8] = b"bench";
    let mut bytes = component.to_vec();
    // Section 0, its length, and its name with a length as well; both fit into one byte of LEB128.
    bytes.extend([0, (1 + NAME.len() + contents.len()) as u8, NAME.len() as u8]);
    bytes.extend(NAME);
    bytes.extend(contents);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_section_is_added() {
        let bytes = with_section(b"\0asm", &[7; 16]);
        assert_eq!(&bytes[..12], b"\0asm\0\x16\x05bench");
        assert_eq!(bytes.len(), 4 + 2 + 0x16);
    }
}
