//! What a file is, from its first bytes: only WebAssembly is ever given to a compiler.

use wasmtime::Engine;

/// Bytes from which it is told whether a file is text.
const SAMPLE: usize = 512;

/// The kinds of file that can be a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A component.
    Component,
    /// A core module.
    CoreModule,
}

impl Kind {
    /// Recognises a file.
    ///
    /// # Errors
    /// When it is neither; the text says what it is instead, as far as that can be told.
    pub fn of(bytes: &[u8]) -> Result<Kind, String> {
        let reason = match bytes {
            [] => "is empty",
            [0x00, b'a', b's', b'm', 0x0d, 0x00, 0x01, 0x00, ..] => return Ok(Kind::Component),
            [0x00, b'a', b's', b'm', 0x01, 0x00, 0x00, 0x00, ..] => return Ok(Kind::CoreModule),
            [0x00, b'a', b's', b'm', _, _, _, _, ..] => "is WebAssembly of a version that is not supported",
            [0x00, b'a', b's', b'm', ..] => "is cut short: not even its header is whole",
            _ if Engine::detect_precompiled(bytes).is_some() => {
                "is code compiled ahead of time, which cannot be checked; give the .wasm that it was compiled from"
            }
            [0x7f, b'E', b'L', b'F', ..] => "is a native program, not WebAssembly",
            _ if looks_like_text(bytes) => "is text, not WebAssembly; a .wat file has to be translated first",
            _ => "is not WebAssembly",
        };
        Err(reason.to_owned())
    }
}

fn looks_like_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(SAMPLE)];
    start.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(Kind::of(b"\0asm\x0d\0\x01\0rest"), Ok(Kind::Component));
        assert_eq!(Kind::of(b"\0asm\x01\0\0\0"), Ok(Kind::CoreModule));
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\0as", "not WebAssembly"),
            (b"\0asm\x01", "cut short"),
            (b"\0asm\x09\0\0\0", "version"),
            (b"\x7fELF\x02\x01\x01", "native"),
            (b"(module)\n", "text"),
            (b"\x89PNG\r\n\x1a\n\0", "not WebAssembly"),
        ] {
            let reason = Kind::of(bytes).unwrap_err();
            assert!(reason.contains(word), "{bytes:?}: {reason}");
        }
    }
}
