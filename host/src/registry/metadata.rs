//! What a `.wasm` file says about itself in the standard custom sections, and what can be counted in it.
//!
//! The file is the author's: it is parsed in safe code, nothing of it is trusted, and what is kept of it is bounded.

use std::collections::BTreeMap;

use wasmparser::{KnownCustom, Parser, Payload};

/// The standard sections of text.
const SECTIONS: &[&str] = &["authors", "description", "homepage", "licenses", "revision", "source", "version"];
/// The standard fields of the `producers` section.
const PRODUCERS: &[&str] = &["language", "processed-by", "sdk"];
/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 200;
/// Bytes of a page of linear memory.
const PAGE: u64 = 65_536;

/// What there is to know about a file without compiling it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The first line of each of the file's own [`SECTIONS`], and what it was made with.
    pub sections: BTreeMap<String, String>,
    /// Bytes of linear memory that all its memories have at the start, with those of the modules inside it.
    pub initial_memory: u64,
    /// Whether code of it may run when it is instantiated: it has a start function, or cannot be read to its end.
    pub starts: bool,
}

impl Metadata {
    /// Reads a file. What is wrong with it is for the compiler to say: what could be read until then is what there is.
    pub fn of(wasm: &[u8]) -> Metadata {
        let mut metadata = Metadata::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::CustomSection(section)) if depth == 0 && SECTIONS.contains(&section.name()) => {
                    let line = one_line(section.data());
                    metadata.sections.extend(line.map(|line| (section.name().to_owned(), line)));
                }
                Ok(Payload::CustomSection(section)) => {
                    // The compilers leave their names in the modules inside a component.
                    if let KnownCustom::Producers(producers) = section.as_known() {
                        metadata.add(producers);
                    }
                }
                Ok(Payload::MemorySection(memories)) => {
                    for memory in memories.into_iter().flatten() {
                        let bytes = memory.initial.saturating_mul(PAGE);
                        metadata.initial_memory = metadata.initial_memory.saturating_add(bytes);
                    }
                }
                Ok(Payload::StartSection { .. } | Payload::ComponentStartSection { .. }) => metadata.starts = true,
                Ok(_) => {}
                Err(_) => {
                    metadata.starts = true;
                    break;
                }
            }
        }
        metadata
    }
}

impl Metadata {
    /// What the file does, in a line.
    pub fn description(&self) -> Option<&String> {
        self.sections.get("description")
    }

    /// Adds the languages and the compilers, as far as there is room.
    fn add(&mut self, producers: wasmparser::ProducersSectionReader<'_>) {
        for field in producers.into_iter().flatten() {
            let Some(name) = PRODUCERS.iter().find(|name| **name == field.name) else { continue };
            let line = self.sections.entry((*name).to_owned()).or_default();
            for value in field.values.into_iter().flatten() {
                let text = format!("{} {}", value.name, value.version);
                if let Some(text) = one_line(text.as_bytes())
                    && !line.contains(&text)
                    && line.len() + text.len() < MAX_TEXT
                {
                    let separator = if line.is_empty() { "" } else { ", " };
                    *line = format!("{line}{separator}{text}");
                }
            }
        }
    }
}

/// The first line of a section's text, cut to what `help` has room for.
fn one_line(bytes: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(bytes).ok()?.lines().next()?.trim();
    let text: String = line.chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Metadata {
        Metadata::of(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn the_files_own_sections_are_read_and_not_those_inside() {
        let metadata = parse(
            r#"(component
                (core module (@custom "description" "inner") (memory 2) (memory 1))
                (@custom "description" "Says hello\nand more")
                (@custom "version" "1.2.3"))"#,
        );
        assert_eq!(metadata.description().map(String::as_str), Some("Says hello"));
        assert_eq!(metadata.sections["version"], "1.2.3");
        assert_eq!((metadata.initial_memory, metadata.starts), (3 * PAGE, false));
        assert!(parse("(component (component (core module (func $go) (start $go))))").starts);
    }

    #[test]
    fn nothing_of_a_damaged_file_is_trusted() {
        let nothing = Metadata { starts: true, ..Metadata::default() };
        assert_eq!(Metadata::of(b"\0asm\x0d\0\x01\0\0\xff"), nothing);
        assert_eq!(Metadata::of(b"text"), nothing);
        let long = format!(r#"(component (@custom "description" "{}"))"#, "x".repeat(1000));
        assert_eq!(parse(&long).description().map(|text| text.len()), Some(MAX_TEXT));
    }
}
