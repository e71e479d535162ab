//! Environment variables for programs of WASI: the tenant gives them their values, a sidecar asks for them by name.
//! Nothing of the host's own environment is among them.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Value;

use super::grants::bounded;

/// Reads a tenant's variables.
pub fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let variables = BTreeMap::<VariableName, VariableValue>::deserialize(deserializer)?;
    Ok(variables.into_iter().map(|(VariableName(name), VariableValue(value))| (name, value)).collect())
}

/// Reads the names that a sidecar asks for.
pub fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = bounded(Vec::<VariableName>::deserialize(deserializer)?, "variables")?;
    Ok(names.into_iter().map(|VariableName(name)| name).collect())
}

/// The variables that a command finds, sorted by name.
pub fn effective(granted: &BTreeMap<String, String>, asked: Option<&[String]>) -> Vec<(String, String)> {
    let asked_for = |name: &String| asked.is_none_or(|asked| asked.contains(name));
    granted.iter().filter(|(name, _)| asked_for(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct VariableName(String);

impl TryFrom<String> for VariableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{name}` names no variable; a name has at least one character, and no `=` or NUL"));
        }
        Ok(Self(name))
    }
}

struct VariableValue(String);

impl<'de> Deserialize<'de> for VariableValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if text.contains('\0') => Err(D::Error::custom("a variable's value has no NUL in it")),
            Value::String(text) => Ok(Self(text)),
            Value::Table(_) | Value::Array(_) => Err(D::Error::custom("a variable's value is text in quotes")),
            value => Err(D::Error::custom(format!("a variable's value is text; put it in quotes: \"{value}\""))),
        }
    }
}
