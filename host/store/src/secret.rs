//! Secrets that callers outside prove themselves with.
//!
//! Whoever has the text of a grant or of a session may use it, so a store keeps
//! only what cannot be turned back into it: the identity, a hash of the secret.
//! The text also carries a check made with the space's key, so that a text that
//! was never given out is told from one whose grant has ended, without
//! remembering what ended. And a secret made from a request id is the same each
//! time, so a request that is asked again can be answered again.
//!
//! ```text
//!   request id --HMAC, key--> secret --SHA-256--> identity, in the store
//!   or random                   |
//!                               +--HMAC, key--> check
//!   text = hex(secret, check)
//! ```

use crate::id::{GrantId, SessionId};
use crate::store::Principal;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// The bytes of a secret, and those of its check.
const SECRET: usize = 16;
const CHECK: usize = 8;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The key of a space: 256 random bits, kept as long as what the space keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct SpaceKey([u8; 32]);

/// What a holder proves a grant, or a client its session, with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; SECRET]);

/// What a secret is for: a text for one is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To renew and release a grant.
    Grant,
    /// To attach a session.
    Session,
}

impl SpaceKey {
    /// A new, random key.
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The key's bytes, for storage.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key that was stored as `bytes`.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret of what `principal` asks for under this request id: the same
    /// each time.
    pub fn of_request(&self, principal: &Principal, request_id: &str) -> Secret {
        let principal = principal.as_str();
        // The length keeps one pair from looking like another.
        let length = (principal.len() as u64).to_be_bytes();
        let parts = [
            b"request".as_slice(),
            &length,
            principal.as_bytes(),
            request_id.as_bytes(),
        ];
        Secret(first(&self.authenticate(&parts)))
    }

    /// The text to give to whom the secret belongs.
    pub fn text(&self, secret: Secret, purpose: Purpose) -> String {
        let check = self.check(secret, purpose);
        let bytes = secret.0.iter().chain(&check);
        let digits = bytes.flat_map(|it| [it >> 4, it & 0xf]);
        digits
            .map(|it| char::from(DIGITS[usize::from(it)]))
            .collect()
    }

    /// The secret in a text; `None` unless this space gave it out for this
    /// purpose.
    pub fn read(&self, text: &str, purpose: Purpose) -> Option<Secret> {
        let bytes: [u8; SECRET + CHECK] = parse(text)?;
        let secret = Secret(first(&bytes));
        let given: [u8; CHECK] = bytes[SECRET..].try_into().ok()?;
        let expected = self.check(secret, purpose);
        // In the same time however many bytes fit.
        let differs = given.iter().zip(expected).fold(0, |d, (a, b)| d | (a ^ b));
        (differs == 0).then_some(secret)
    }

    fn check(&self, secret: Secret, purpose: Purpose) -> [u8; CHECK] {
        let purpose = match purpose {
            Purpose::Grant => b"grant".as_slice(),
            Purpose::Session => b"session".as_slice(),
        };
        first(&self.authenticate(&[purpose, &secret.0]))
    }

    fn authenticate(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl Secret {
    /// A new, random secret.
    pub fn mint() -> Self {
        Self(rand::random())
    }

    /// The secret that a caller brought itself, from as many random bits.
    pub fn from_bytes(bytes: [u8; SECRET]) -> Self {
        Self(bytes)
    }

    /// The identity of the grant it stands for.
    pub fn grant(self) -> GrantId {
        GrantId::from_u128(self.hash(b"grant"))
    }

    /// The identity of the session it stands for.
    pub fn session(self) -> SessionId {
        SessionId::from_u128(self.hash(b"session"))
    }

    fn hash(self, purpose: &[u8]) -> u128 {
        let hash = Sha256::new().chain_update(purpose).chain_update(self.0);
        u128::from_be_bytes(first(&hash.finalize()))
    }
}

/// The first bytes of a longer text of bytes.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("it is cut to this length")
}

/// Reads lower-case hexadecimal digits.
fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

// === impl fmt ===

impl fmt::Debug for SpaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpaceKey(..)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SpaceKey {
        SpaceKey::from_bytes([7; 32])
    }

    #[test]
    fn a_text_is_read_back_for_its_purpose_only() {
        let secret = Secret::mint();
        let text = key().text(secret, Purpose::Grant);
        assert_eq!(text.len(), 48);
        assert_eq!(key().read(&text, Purpose::Grant), Some(secret));
        assert_eq!(key().read(&text, Purpose::Session), None);
        assert_eq!(SpaceKey::mint().read(&text, Purpose::Grant), None);
    }

    #[test]
    fn a_text_with_any_digit_changed_is_not_ours() {
        let text = key().text(Secret::mint(), Purpose::Grant);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key().read(&changed, Purpose::Grant), None, "{changed}");
        }
        for odd in ["", "0", &text[1..], &text.to_uppercase(), "\u{e4}"] {
            let is_same = odd == text;
            assert!(
                is_same || key().read(odd, Purpose::Grant).is_none(),
                "{odd}"
            );
        }
    }

    #[test]
    fn a_request_id_makes_the_same_secret_for_the_same_principal_only() {
        let [a, b] = ["a", "ab"].map(Principal::new);
        assert_eq!(key().of_request(&a, "1"), key().of_request(&a, "1"));
        assert_ne!(key().of_request(&a, "1"), key().of_request(&a, "2"));
        assert_ne!(key().of_request(&a, "b1"), key().of_request(&b, "1"));
        assert_ne!(
            key().of_request(&a, "1"),
            SpaceKey::mint().of_request(&a, "1")
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let printed = format!("{:?} {:?}", key(), Secret([9; SECRET]));
        assert_eq!(printed, "SpaceKey(..) Secret(..)");
    }
}
