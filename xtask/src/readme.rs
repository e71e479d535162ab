//! The commands that a README tells people to type. What is tested is what is told.

use std::fs;
use std::path::Path;

use crate::shell::Result;

/// The shell that the README in `dir` has in the section `## SECTION`: its first block that is marked `sh`.
pub fn commands(dir: &Path, section: &str) -> Result<String> {
    let path = dir.join("README.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    block(&text, section).ok_or_else(|| format!("{} has no shell beneath `## {section}`", path.display()))
}

fn block(text: &str, section: &str) -> Option<String> {
    let lines = text.lines().skip_while(|line| line.strip_prefix("## ") != Some(section)).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with("## ")).skip_while(|line| *line != "```sh");
    lines.next()?;
    Some(lines.take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_of_the_section() {
        let text =
            "## A\n```sh\nno\n```\n## Build\nso:\n```sh\none\ntwo\n```\n```sh\nno\n```\n## Try\nnothing\n## B\n```sh\n";
        assert_eq!(block(text, "Build").as_deref(), Some("one\ntwo"));
        assert_eq!(block(text, "Try"), None);
        assert_eq!(block(text, "Nowhere"), None);
    }

    #[test]
    fn a_section_that_is_missing_is_named() {
        let temp = tempfile::tempdir().unwrap();
        assert!(commands(temp.path(), "Build").unwrap_err().contains("README.md"));
        fs::write(temp.path().join("README.md"), "# x\n").unwrap();
        assert!(commands(temp.path(), "Build").unwrap_err().contains("## Build"));
    }
}
