//! The tokens of the older contract: random UUIDs.

use lockport_store::GrantId;
use lockport_store::secret::Secret;
use std::fmt;

/// A UUID of version 4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 16]);

/// Where the hyphens are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// How long the text is.
const LENGTH: usize = 36;

impl Token {
    /// A new, random token (122 bits).
    pub(super) fn mint() -> Self {
        let mut bytes: [u8; 16] = rand::random();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Reads a token; `None` unless it is a UUID of version 4.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != LENGTH || HYPHENS.iter().any(|at| text[*at] != b'-') {
            return None;
        }
        let digits = text
            .iter()
            .enumerate()
            .filter(|(at, _)| !HYPHENS.contains(at));
        let mut digits = digits.map(|(_, byte)| (*byte as char).to_digit(16));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            // Two digits make a byte.
            *byte = (digits.next()?? * 16 + digits.next()??) as u8;
        }
        let is_random = bytes[6] >> 4 == 4 && bytes[8] >> 6 == 0b10;
        is_random.then_some(Self(bytes))
    }

    /// The identity of the grant that it is the secret of.
    pub(super) fn grant(self) -> GrantId {
        Secret::from_bytes(self.0).grant()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_is_read_back() {
        for _ in 0..1000 {
            let token = Token::mint();
            let text = token.to_string();
            assert!(Token::parse(&text) == Some(token), "{text}");
            assert!(Token::parse(&text.to_uppercase()) == Some(token), "{text}");
        }
    }

    #[test]
    fn only_random_uuids_with_hyphens_are_tokens() {
        assert!(Token::parse("9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a5b").is_some());
        for wrong in [
            "",
            "9f1b4a523c6d4e7f8a9b0c1d2e3f4a5b",
            "9f1b4a52-3c6d-1e7f-8a9b-0c1d2e3f4a5b",
            "9f1b4a52-3c6d-4e7f-7a9b-0c1d2e3f4a5b",
            "9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a5",
            "9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a5bc",
            "9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a5g",
            "9f1b4a5-23c6d-4e7f-8a9b-0c1d2e3f4a5b",
            "{9f1b4a52-3c6d-4e7f-8a9b-0c1d2e3f4a}",
            "\u{e4}\u{e4}\u{e4}\u{e4}-\u{e4}\u{e4}-\u{e4}\u{e4}-\u{e4}\u{e4}-\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
        ] {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }
}
