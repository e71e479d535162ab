//! `wasmline inspect`: what a file is, what it imports and which grants it would need, without running it.

mod wanted;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;

use serde::Serialize;
use wit_component::{DecodedWasm, decode};

use crate::cli::{self, Inspect, Output};
use crate::policy::Key;
use crate::registry::kind::Kind;
use crate::registry::metadata::Metadata;
use crate::registry::{adapt, read_wasm};
use crate::sandbox::{WASI_RUN, unfit};

/// What there is to know about a file.
#[derive(Debug, Serialize)]
pub struct Report {
    file: String,
    kind: &'static str,
    /// Why no host of this version runs it, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfit: Option<String>,
    bytes: usize,
    /// BLAKE3, by which the cache and the log know the file.
    blake3: String,
    /// What the file says about itself, by the name of the section.
    metadata: BTreeMap<String, String>,
    /// Bytes of linear memory at the start.
    initial_memory: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    /// TOML for the configuration: what its sidecar asks for, or else what its imports are for, with what only the operator
    /// knows left to fill in. Empty where it needs nothing.
    grants: String,
    /// The tenant that they are for.
    #[serde(skip)]
    tenant: String,
}

/// Inspects a file, and says what it is.
///
/// # Errors
/// When there is nothing to be said of it.
pub fn run(arguments: &Inspect) -> Result<(), String> {
    let report = inspect(&arguments.file, &arguments.tenant)?;
    cli::print(&match arguments.output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n",
    })
}

/// Inspects a file.
///
/// # Errors
/// When it cannot be read, or can be no command; the text says why.
fn inspect(path: &Path, tenant: &str) -> Result<Report, String> {
    let refuse = |reason: String| format!("{}: {reason}", path.display());
    let wasm = read_wasm(path).map_err(refuse)?;
    let kind = Kind::of(&wasm).map_err(refuse)?;
    let decoded = match kind {
        Kind::Component => decode(&wasm),
        Kind::CoreModule => decode(&adapt(&wasm).map_err(refuse)?),
    };
    let decoded = decoded.map_err(|error| refuse(format!("is damaged: {error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(refuse("is a package of interfaces, not a program".to_owned()));
    };
    let names = |keys: Vec<_>| -> Vec<String> { keys.into_iter().map(|key| resolve.name_world_key(key)).collect() };
    let imports = names(resolve.worlds[world].imports.keys().collect());
    let exports = names(resolve.worlds[world].exports.keys().collect());
    let metadata = Metadata::of(&wasm);
    Ok(Report {
        file: path.display().to_string(),
        kind: name(kind, &exports),
        unfit: unfit::check(&imports, &exports).err(),
        bytes: wasm.len(),
        blake3: blake3::hash(&wasm).to_hex().to_string(),
        metadata: metadata.sections,
        initial_memory: metadata.initial_memory,
        grants: wanted::grants(path, &imports, tenant)?,
        tenant: tenant.to_owned(),
        imports,
        exports,
    })
}

fn name(kind: Kind, exports: &[String]) -> &'static str {
    let is_wasi = exports.iter().any(|export| export.starts_with(WASI_RUN));
    match kind {
        Kind::CoreModule => "program of WASI preview 1 (core module)",
        Kind::Component if is_wasi => "program of WASI preview 2 (wasi:cli/command)",
        Kind::Component if exports.iter().any(|export| export == "run") => "command (wasmline:command)",
        Kind::Component => "component that exports neither `run` nor `wasi:cli/run`: no command",
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file     {}", self.file)?;
        writeln!(f, "kind     {}", self.kind)?;
        if let Some(why) = &self.unfit {
            writeln!(f, "unfit    {why}")?;
        }
        writeln!(f, "size     {} bytes, {} bytes of memory at the start", self.bytes, self.initial_memory)?;
        writeln!(f, "blake3   {}", self.blake3)?;
        let metadata: Vec<String> = self.metadata.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        for (label, lines) in [("about", &metadata), ("imports", &self.imports), ("exports", &self.exports)] {
            for (index, line) in lines.iter().enumerate() {
                writeln!(f, "{:8} {line}", if index == 0 { label } else { "" })?;
            }
        }
        match self.grants.as_str() {
            "" => {
                writeln!(f, "\nIt needs no grants.")?;
                let looks = self.imports.iter().any(|import| import.starts_with("wasi:filesystem/preopens@"));
                if looks {
                    let table = Key::Tenant.table(&self.tenant);
                    writeln!(f, "It finds files only in directories that are granted, [[{table}.directory]].")?;
                }
                Ok(())
            }
            grants => {
                writeln!(f, "\nIt may need grants, in the configuration:\n\n{}", grants.trim_end())?;
                if grants.contains("\"/\"") {
                    writeln!(
                        f,
                        "\n`/` stands for all of the machine: write the part that it is to have in its place."
                    )?;
                }
                Ok(())
            }
        }
    }
}
