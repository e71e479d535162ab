//! The grants that a file would need, as TOML for the operator's configuration.

use std::path::Path;

use toml::{Table, Value};

use crate::registry::sidecar::Sidecar;

/// Interfaces that do nothing without a grant, and what the grant looks like.
const NEEDS: &[(&str, &str)] = &[
    ("wasmline:command/process@", "process = [{ program = '/absolute/path', args = [] }]"),
    ("wasmline:command/digest@", "digest.read = ['/absolute/directory']"),
    ("wasmline:command/tasks@", "tasks = { list = true, stop = true }"),
];

/// The grants that the sidecar asks for, under the tenant's name; without one, the shape of those that its imports are for.
///
/// # Errors
/// When the sidecar cannot be used.
pub fn grants(path: &Path, imports: &[String], tenant: &str) -> Result<String, String> {
    let asked = match Sidecar::beside(path)? {
        Some((_, Some(Value::Table(asked)))) => with_values(asked),
        _ => shapes(imports)?,
    };
    if asked.is_empty() {
        return Ok(String::new());
    }
    let nest = |inner: Table, name: &str| Table::from_iter([(name.to_owned(), Value::Table(inner))]);
    let config = nest(nest(nest(asked, "grants"), tenant), "tenants");
    toml::to_string(&config).map_err(|error| error.to_string())
}

/// A sidecar asks for variables by name; their values are the tenant's to give.
fn with_values(mut asked: Table) -> Table {
    if let Some(Value::Array(names)) = asked.get("environment") {
        let named = names.iter().filter_map(|name| Some((name.as_str()?.to_owned(), Value::String(String::new()))));
        let variables = Table::from_iter(named);
        asked.insert("environment".to_owned(), Value::Table(variables));
    }
    asked
}

fn shapes(imports: &[String]) -> Result<Table, String> {
    let imported = |interface: &str| imports.iter().any(|import| import.starts_with(interface));
    let shapes = NEEDS.iter().filter(|(interface, _)| imported(interface)).map(|(_, toml)| *toml);
    toml::from_str(&shapes.collect::<Vec<_>>().join("\n")).map_err(|error: toml::de::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Grants;

    fn wanted(sidecar: Option<&str>, imports: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.wasm");
        if let Some(sidecar) = sidecar {
            std::fs::write(path.with_extension("toml"), sidecar).unwrap();
        }
        let imports: Vec<String> = imports.iter().map(|&import| import.to_owned()).collect();
        grants(&path, &imports, "alice").unwrap()
    }

    #[track_caller]
    fn is_valid(config: &str) {
        let mut table: Table = toml::from_str(config).unwrap();
        let tenant = table.remove("tenants").and_then(|tenants| tenants.get("alice").cloned()).unwrap();
        let _: Grants = tenant["grants"].clone().try_into().unwrap();
    }

    #[test]
    fn what_a_sidecar_asks_for_is_ready_to_paste() {
        let sidecar = "[[grants.process]]\nprogram = '/usr/bin/tail'\nargs = ['-n', { int = [1, 9] }]\n\
                       [grants]\nenvironment = ['LANG']";
        let config = wanted(Some(sidecar), &[]);
        assert!(config.contains("[[tenants.alice.grants.process]]\nprogram = \"/usr/bin/tail\""), "{config}");
        assert!(config.contains("[tenants.alice.grants.environment]\nLANG = \"\""), "{config}");
        is_valid(&config);
    }

    #[test]
    fn without_a_sidecar_imports_say_what_is_needed() {
        let config = wanted(None, &["wasmline:command/process@0.1.0", "wasmline:command/digest@0.1.0"]);
        assert!(config.contains("[[tenants.alice.grants.process]]\nprogram = \"/absolute/path\""), "{config}");
        is_valid(&config);
        assert_eq!(wanted(None, &["wasmline:command/log@0.1.0"]), "");
        assert_eq!(wanted(Some("[grants]"), &["wasmline:command/digest@0.1.0"]), "");
    }
}
