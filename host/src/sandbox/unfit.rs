//! Why a component does not fit this host, in words that name the interface and what to do about it.
//!
//! The engine's own message names an interface too, but neither what there is instead nor a way out.

use super::WASI_RUN;

/// The interfaces of a wasmline command, of the one version that this host has.
const COMMAND: &str = "wasmline:command/";
const COMMAND_VERSION: &str = "0.1.0";
/// The packages of WASI that this host has, at any 0.2.
const WASI: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// Exports that are named where none of them can be run.
const MOST_NAMED: usize = 16;
/// Settings, which are not a part of WASI 0.2 yet.
const SETTINGS: &str = "wasi:config/store@0.2.0-";

/// Checks the names of a component's imports and exports.
///
/// # Errors
/// When one of its imports is not offered, or when it exports no way to run it.
pub fn check<S: AsRef<str>>(imports: &[S], exports: &[S]) -> Result<(), String> {
    let exports: Vec<&str> = exports.iter().map(S::as_ref).collect();
    for import in imports.iter().map(S::as_ref) {
        if let Some(why) = unknown(import) {
            return Err(format!("imports {import}, {why}"));
        }
    }
    let runs = exports.iter().any(|export| *export == "run" || export.starts_with(WASI_RUN));
    if runs {
        return Ok(());
    }
    if let Some(other) = exports.iter().find(|export| export.starts_with("wasi:cli/run@")) {
        return Err(format!("exports {other}, but this host runs version 0.2; build it for WASI preview 2"));
    }
    let has = match exports.len() {
        0 => "nothing".to_owned(),
        1..=MOST_NAMED => exports.join(", "),
        more => format!("{} and {} more", exports[..MOST_NAMED].join(", "), more - MOST_NAMED),
    };
    Err(format!(
        "exports {has}, and nothing that can be run; a command exports `run` of the world wasmline:command/command, \
         a program `wasi:cli/run@0.2` (in Rust: a crate of type `cdylib` with the world, or a `bin`)"
    ))
}

/// Why an import is not offered; `None` where it is, by its name.
fn unknown(import: &str) -> Option<String> {
    if let Some(interface) = import.strip_prefix(COMMAND) {
        let version = interface.split_once('@').map_or("no version", |(_, version)| version);
        let other = format!("but this host has version {COMMAND_VERSION}; build it against the host's wit/");
        return (version != COMMAND_VERSION).then_some(other);
    }
    if WASI.iter().any(|package| import.starts_with(package)) {
        let is_0_2 = import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
        return (!is_0_2).then(|| "but this host has version 0.2; build it for WASI preview 2".to_owned());
    }
    if import.starts_with(SETTINGS) {
        return None;
    }
    Some(if import.starts_with("wasi:http/") {
        "which this host does not offer: no command has the network; build it without, in JavaScript with \
         `--disable http`"
            .to_owned()
    } else {
        "which this host does not offer; it offers wasmline:command, WASI 0.2 without http, and wasi:config/store"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        let imports = ["wasmline:command/process@0.1.0", "wasi:io/streams@0.2.6", "wasi:config/store@0.2.0-rc.1"];
        assert_eq!(check(&imports, &["run"]), Ok(()));
        assert_eq!(check(&["wasi:sockets/tcp@0.2.0"], &["wasi:cli/run@0.2.3"]), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named_with_a_way_out() {
        for (imports, exports, words) in [
            (&["acme:warp/drive@1.0.0"][..], &["run"][..], ["acme:warp/drive@1.0.0", "it offers wasmline:command"]),
            (&["wasmline:command/process@0.2.0"], &["run"], ["process@0.2.0", "has version 0.1.0"]),
            (&["wasi:io/streams@0.3.0"], &["run"], ["streams@0.3.0", "WASI preview 2"]),
            (&["wasi:http/types@0.2.0"], &["run"], ["wasi:http/types@0.2.0", "--disable http"]),
            (&[], &["wasi:cli/run@0.3.0"], ["wasi:cli/run@0.3.0", "version 0.2"]),
            (&[], &["add"], ["exports add", "wasi:cli/run@0.2"]),
            (&[], &[], ["exports nothing", "`run`"]),
        ] {
            let reason = check(imports, exports).unwrap_err();
            assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        }
    }
}
