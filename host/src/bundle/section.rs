//! The manifest inside a `.wasm`: the custom section `lockport:component`.
//!
//! UTF-8 TOML, exactly one, at the outermost level, at most 1 MiB. A section
//! of that name in a nested module is somebody else's and is not looked at.

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Encoding, Parser, Payload};

/// The section's name.
pub const NAME: &str = "lockport:component";

/// The longest manifest in a section, in bytes.
pub const BYTES_MAX: usize = 1 << 20;

/// Why a file carries no manifest, or can carry none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// It is not WebAssembly, or it is broken.
    #[error("it is not a WebAssembly component: {0}")]
    Broken(String),
    /// It is a core module.
    #[error("it is not a WebAssembly component: it is a core module")]
    Module,
    /// It has no manifest.
    #[error("it carries no manifest (custom section `{NAME}`)")]
    Missing,
    /// It has more than one.
    #[error("it carries more than one manifest (custom section `{NAME}`)")]
    Twice,
    /// The manifest is too long.
    #[error("its manifest has {0} bytes; at most {BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The manifest is not text.
    #[error("its manifest is not UTF-8")]
    NotText,
}

/// Reads the manifest of a component.
pub fn read(wasm: &[u8]) -> Result<&str, SectionError> {
    let mut found = sections(wasm)?.into_iter();
    let (Some(section), None) = (found.next(), found.next()) else {
        return Err(match sections(wasm)?.len() {
            0 => SectionError::Missing,
            _ => SectionError::Twice,
        });
    };
    if section.data.len() > BYTES_MAX {
        return Err(SectionError::TooLong(section.data.len()));
    }
    std::str::from_utf8(section.data).map_err(|_| SectionError::NotText)
}

/// Writes `manifest` into a component, in place of what it carried before.
/// The same input gives the same bytes.
pub fn write(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, SectionError> {
    if manifest.len() > BYTES_MAX {
        return Err(SectionError::TooLong(manifest.len()));
    }
    let mut packed = Vec::with_capacity(wasm.len() + manifest.len() + NAME.len() + 16);
    let mut kept = 0;
    for old in sections(wasm)? {
        packed.extend_from_slice(&wasm[kept..old.start]);
        kept = old.end;
    }
    packed.extend_from_slice(&wasm[kept..]);
    CustomSection {
        name: NAME.into(),
        data: manifest.as_bytes().into(),
    }
    .append_to_component(&mut packed);
    Ok(packed)
}

impl SectionError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => Some(
                "`lockport pack DIR` puts it in; `wasm-tools strip` takes it out again, so pack \
                 after stripping"
                    .to_owned(),
            ),
            Self::Module => Some("build it for the target wasm32-wasip2".to_owned()),
            Self::Broken(_) | Self::Twice | Self::TooLong(_) | Self::NotText => None,
        }
    }
}

/// A section of ours: where it begins, header and all, where it ends, and what
/// is in it.
struct Found<'a> {
    start: usize,
    end: usize,
    data: &'a [u8],
}

/// Finds our sections at the outermost level.
fn sections(wasm: &[u8]) -> Result<Vec<Found<'_>>, SectionError> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    // Where the section that comes next begins, at the outermost level.
    let mut start = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| SectionError::Broken(error.to_string()))?;
        match &payload {
            Payload::Version { encoding, .. } if depth == 0 && *encoding == Encoding::Module => {
                return Err(SectionError::Module);
            }
            Payload::CustomSection(section) if depth == 0 && section.name() == NAME => {
                found.push(Found {
                    start,
                    end: section.range().end,
                    data: section.data(),
                });
            }
            _ => {}
        }
        match &payload {
            Payload::ModuleSection {
                unchecked_range, ..
            }
            | Payload::ComponentSection {
                unchecked_range, ..
            } => {
                depth += 1;
                start = unchecked_range.end.max(start);
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::Version { range, .. } if depth == 0 => start = range.end,
            other if depth == 0 => {
                if let Some((_, range)) = other.as_section() {
                    start = range.end;
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, Module, ModuleSection};

    fn component(customs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut component = Component::new();
        for (name, data) in customs {
            component.section(&CustomSection {
                name: (*name).into(),
                data: (*data).into(),
            });
        }
        component.finish()
    }

    #[test]
    fn a_manifest_that_was_written_is_read_again() {
        let bare = component(&[("producers", b"x")]);
        let packed = write(&bare, "name = \"a\"").unwrap();
        assert_eq!(read(&packed).unwrap(), "name = \"a\"");
        assert!(packed.starts_with(&bare));
        assert_eq!(write(&bare, "name = \"a\"").unwrap(), packed);
    }

    #[test]
    fn packing_again_replaces_the_manifest() {
        let bare = component(&[("producers", b"x")]);
        let once = write(&bare, "one").unwrap();
        let mut twice = write(&once, "two").unwrap();
        assert_eq!(read(&twice).unwrap(), "two");
        assert_eq!(twice, write(&bare, "two").unwrap());
        // Also when something comes behind it.
        twice.extend_from_slice(&component(&[("after", b"y")])[8..]);
        let thrice = write(&twice, "three").unwrap();
        assert_eq!(read(&thrice).unwrap(), "three");
        assert_eq!(sections(&thrice).unwrap().len(), 1);
    }

    #[test]
    fn a_section_in_a_nested_module_is_not_ours() {
        let mut module = Module::new();
        module.section(&CustomSection {
            name: NAME.into(),
            data: b"theirs".into(),
        });
        let mut nested = Component::new();
        nested.section(&ModuleSection(&module));
        let bytes = nested.finish();
        assert_eq!(read(&bytes), Err(SectionError::Missing));
        let packed = write(&bytes, "ours").unwrap();
        assert_eq!(read(&packed).unwrap(), "ours");
        assert_eq!(read(&write(&packed, "again").unwrap()).unwrap(), "again");
    }

    #[test]
    fn what_carries_no_manifest_is_refused_with_the_reason() {
        assert_eq!(read(&component(&[])), Err(SectionError::Missing));
        let twice = component(&[(NAME, b"a"), (NAME, b"b")]);
        assert_eq!(read(&twice), Err(SectionError::Twice));
        assert_eq!(
            read(&component(&[(NAME, b"\xff")])),
            Err(SectionError::NotText)
        );
        assert_eq!(read(&Module::new().finish()), Err(SectionError::Module));
        assert!(matches!(read(b"\0asm"), Err(SectionError::Broken(_))));
        assert!(matches!(read(b""), Err(SectionError::Broken(_))));
        let long = vec![b' '; BYTES_MAX + 1];
        assert_eq!(
            read(&component(&[(NAME, &long)])),
            Err(SectionError::TooLong(BYTES_MAX + 1))
        );
        let text = String::from_utf8(long).unwrap();
        assert_eq!(
            write(&component(&[]), &text),
            Err(SectionError::TooLong(BYTES_MAX + 1))
        );
    }
}
