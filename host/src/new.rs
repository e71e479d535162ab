//! `wasmline new`: a project for a command, which builds with its language's usual tools.

mod draft;
mod templates;

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cli;
use crate::config::Name;
use draft::Draft;
use templates::File;

const README: &str = "README.md";
/// The sections of a project's README whose commands an author types first.
const FIRST_SECTIONS: &[&str] = &["Build", "Try"];

/// A language that there is a project for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    C,
    #[value(alias = "javascript")]
    Js,
    #[value(alias = "py")]
    Python,
}

impl Language {
    fn title(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::C => "C",
            Language::Js => "JavaScript",
            Language::Python => "Python",
        }
    }

    fn files(self) -> &'static [File] {
        match self {
            Language::Rust => templates::RUST,
            Language::C => templates::C,
            Language::Js => templates::JS,
            Language::Python => templates::PYTHON,
        }
    }

    fn readme(self) -> &'static str {
        let file = self.files().iter().find(|file| file.path == README);
        file.and_then(|file| str::from_utf8(file.contents).ok()).unwrap_or_default()
    }

    /// Names whose sidecar, `NAME.toml`, the language's own tools would take for theirs.
    fn taken(self) -> &'static [&'static str] {
        match self {
            Language::Rust => &["clippy", "rust-toolchain", "rustfmt"],
            Language::C | Language::Js => &[],
            Language::Python => &["pyproject"],
        }
    }

    fn refuse(self, Name(name): &Name) -> Result<(), String> {
        if self == Language::Rust && name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(format!("`{name}` begins with a digit, which a Rust package cannot; choose another name"));
        }
        if self.taken().contains(&name.as_str()) {
            let language = self.title();
            return Err(format!("`{name}.toml` is a file of {language}'s own tools; choose another name"));
        }
        Ok(())
    }
}

/// Runs `wasmline new`.
///
/// # Errors
/// See [`create`]; and when the author cannot be told.
pub fn run(arguments: &cli::New) -> Result<(), String> {
    let directory = arguments.path.clone().unwrap_or_else(|| PathBuf::from(&arguments.name.0));
    let told = create(&arguments.name, arguments.lang, &directory)?;
    cli::print(&told)
}

/// Writes a project for the command `name` into `directory`, which is made, or is there and empty. Returns what to tell
/// the author.
///
/// # Errors
/// When the name will not do for the language, something is in the directory, or it cannot be written; then nothing of
/// the project is left behind.
fn create(name: &Name, language: Language, directory: &Path) -> Result<String, String> {
    language.refuse(name)?;
    must_be_free(directory)?;
    let fill = |text: &str| text.replace("{{name}}", &name.0).replace("{{crate}}", &name.0.replace('-', "_"));
    let mut draft = Draft::default();
    let mut write = |path: &str, contents: &[u8]| {
        let path = directory.join(path);
        draft.file(&path, contents).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    for file in language.files() {
        match str::from_utf8(file.contents) {
            Ok(text) => write(&fill(file.path), fill(text).as_bytes())?,
            Err(_) => write(file.path, file.contents)?,
        }
    }
    for file in templates::WIT {
        write(&format!("wit/{}", file.path), file.contents)?;
    }
    draft.keep();
    Ok(farewell(language, directory, &fill(language.readme())))
}

fn must_be_free(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    let elsewhere = "choose another place with `--path DIR`";
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(format!("{shown} is not empty; {elsewhere}")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(format!("{shown} is there already and is no directory; {elsewhere}"))
        }
        Err(error) => Err(format!("cannot look into {shown}: {error}")),
    }
}

/// What was written, and what to type next: the commands of the project's own README.
fn farewell(language: Language, directory: &Path, readme: &str) -> String {
    let shown = directory.display().to_string();
    let quoted = shlex::try_quote(&shown).unwrap_or_default();
    let mut text = format!("Wrote a command in {} into {shown}. What to type next:\n\n", language.title());
    let _ = writeln!(text, "    cd {quoted}");
    for line in FIRST_SECTIONS.iter().flat_map(|section| commands(readme, section)) {
        let _ = writeln!(text, "    {line}");
    }
    let _ =
        writeln!(text, "\n{} says which tools that needs, and how a host gets it.", directory.join(README).display());
    text
}

/// The lines of the shell that a README has in one of its sections.
fn commands<'a>(readme: &'a str, section: &str) -> impl Iterator<Item = &'a str> {
    let lines = readme.lines().skip_while(move |line| line.strip_prefix("## ") != Some(section)).skip(1);
    let section = lines.take_while(|line| !line.starts_with("## "));
    section.skip_while(|line| *line != "```sh").skip(1).take_while(|line| *line != "```")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name(text.to_owned())
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// All text files beneath a directory.
    fn texts(directory: &Path) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                texts.extend(self::texts(&path));
            } else if let Ok(text) = fs::read_to_string(&path) {
                texts.push((path.display().to_string(), text));
            }
        }
        texts
    }

    #[test]
    fn every_language_has_a_whole_project() {
        for language in Language::value_variants() {
            let temp = tempfile::tempdir().unwrap();
            let project = temp.path().join("deep/down/say-hello");
            let told = create(&name("say-hello"), *language, &project).unwrap();
            assert!(read(&project.join("say-hello.toml")).contains("usage = \"say-hello [NAME]\""));
            assert_eq!(read(&project.join("wit/world.wit")), include_str!("../../wit/world.wit"));
            for (path, text) in texts(&project) {
                assert!(!format!("{path}{text}").contains("{{"), "a placeholder is left in {path}:\n{text}");
            }
            // What it tells to type is what the README says.
            let readme = read(&project.join(README));
            for section in [FIRST_SECTIONS, &["Install"]].concat() {
                assert!(commands(&readme, section).count() > 0, "no commands beneath `## {section}` in:\n{readme}");
            }
            for line in FIRST_SECTIONS.iter().flat_map(|section| commands(&readme, section)) {
                assert!(told.contains(&format!("\n    {line}\n")), "no {line:?} in:\n{told}");
            }
        }
    }

    #[test]
    fn rust_gets_a_name_without_hyphens_where_it_needs_one() {
        let temp = tempfile::tempdir().unwrap();
        let told = create(&name("say-hello"), Language::Rust, &temp.path().join("x")).unwrap();
        assert!(told.contains("/release/say_hello.wasm"), "{told}");
        assert!(read(&temp.path().join("x/Cargo.toml")).contains("name = \"say-hello\""));
    }

    #[test]
    fn an_empty_directory_is_used_and_what_is_in_use_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        create(&name("hello"), Language::C, temp.path()).unwrap();
        let before = texts(temp.path());
        let error = create(&name("other"), Language::C, temp.path()).unwrap_err();
        assert!(error.contains("is not empty") && error.contains("--path"), "{error}");
        assert_eq!(texts(temp.path()), before);

        let file = temp.path().join("Makefile");
        let error = create(&name("other"), Language::C, &file).unwrap_err();
        assert!(error.contains("is no directory"), "{error}");
        let error = create(&name("other"), Language::C, &file.join("below")).unwrap_err();
        assert!(error.contains("below"), "{error}");
        assert_eq!(texts(temp.path()), before);
    }

    #[test]
    fn names_that_would_not_build_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        for (language, bad) in
            [(Language::Rust, "7zip"), (Language::Rust, "rust-toolchain"), (Language::Python, "pyproject")]
        {
            let error = create(&name(bad), language, &temp.path().join(bad)).unwrap_err();
            assert!(error.contains(bad) && error.contains("another name"), "{error}");
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        create(&name("7zip"), Language::Js, &temp.path().join("7zip")).unwrap();
    }

    #[test]
    fn only_the_named_section_counts() {
        let readme =
            "# x\n\n```sh\nno\n```\n## Build\ntext\n```sh\none\ntwo\n```\n```sh\nno\n```\n## Try\nnothing\n## Z\n";
        assert_eq!(commands(readme, "Build").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(commands(readme, "Try").count() + commands(readme, "None").count(), 0);
    }
}
