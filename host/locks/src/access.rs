//! Who may do what: bearer tokens, and the locks each of them opens.
//!
//! A token's secret is kept as a hash only, and is compared in the same time
//! whichever token it is and however many of its bytes fit.

use http::HeaderValue;
use lockport_store::store::Principal;
use lockport_store::{LockName, LockPattern, Permission};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The shortest secret of a token, in bytes: 16 random bytes in hexadecimal
/// have 32.
pub const SECRET_BYTES_MIN: usize = 16;

/// The longest secret of a token, in bytes.
pub const SECRET_BYTES_MAX: usize = 1024;

/// The longest name of a principal, in bytes.
pub const PRINCIPAL_BYTES_MAX: usize = 128;

/// The principal of everybody where no token is asked for.
pub const ANONYMOUS: &str = "anonymous";

/// The principal of clients of the older contract that bring no token.
pub const LEGACY: &str = "legacy";

/// Principals that a token cannot have: they mean something already.
const RESERVED: [&str; 3] = ["node", ANONYMOUS, LEGACY];

/// A token that opens the lock API.
#[derive(Clone)]
pub struct Token {
    /// Who has it. Several tokens may be one principal's.
    pub principal: String,
    /// What is sent behind `Bearer`: visible ASCII characters,
    /// [`SECRET_BYTES_MIN`] to [`SECRET_BYTES_MAX`] of them.
    pub secret: String,
    /// Whether its holder may take locks away from others.
    pub operator: bool,
    /// The locks it opens.
    pub locks: Vec<LockPattern>,
}

/// Who may do what. Cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Kind>);

enum Kind {
    /// Everybody, as this caller.
    Open(Caller),
    /// Whoever has a token.
    Tokens(Vec<(Digested, Caller)>),
}

type Digested = [u8; 32];

/// Who calls, and what they may do. Cheap to clone.
#[derive(Clone)]
pub struct Caller(Arc<Permissions>);

struct Permissions {
    principal: Principal,
    operator: bool,
    locks: Permission,
}

/// The bearer token is missing or wrong. Which of both is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bearer token is missing or wrong")]
pub struct Unauthenticated;

/// Why tokens cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The name of the principal is empty, too long, or has other characters
    /// than visible ASCII.
    #[error(
        "`{0}` is no name for a principal: 1 to {PRINCIPAL_BYTES_MAX} visible ASCII characters are"
    )]
    Principal(String),
    /// The name of the principal means something already.
    #[error("the principal `{0}` is the host's own")]
    Reserved(String),
    /// The secret is too short, too long, or cannot be sent in a header.
    #[error(
        "the secret of `{0}` is not {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} visible ASCII characters"
    )]
    Secret(String),
    /// Two tokens have the same secret.
    #[error("`{0}` and `{1}` have the same secret")]
    Duplicate(String, String),
}

impl Access {
    /// No token is asked for: everybody is the principal [`ANONYMOUS`], may
    /// lock everything, and is an operator. For listeners on loopback.
    pub fn open() -> Self {
        Self(Arc::new(Kind::Open(Caller::everything(ANONYMOUS, true))))
    }

    /// Whoever has one of these tokens may do what it says; nobody else may do
    /// anything.
    pub fn tokens(tokens: Vec<Token>) -> Result<Self, AccessError> {
        let mut known: Vec<(Digested, Caller)> = Vec::with_capacity(tokens.len());
        for token in tokens {
            token.check()?;
            let digest = digest(token.secret.as_bytes());
            if let Some((_, other)) = known.iter().find(|(it, _)| *it == digest) {
                let other = other.principal().as_str().to_owned();
                return Err(AccessError::Duplicate(other, token.principal));
            }
            known.push((digest, Caller::of(token)));
        }
        Ok(Self(Arc::new(Kind::Tokens(known))))
    }

    /// Who sends this `authorization` header.
    pub fn principal_of(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> Result<Caller, Unauthenticated> {
        match &*self.0 {
            Kind::Open(caller) => Ok(caller.clone()),
            Kind::Tokens(known) => {
                let secret = authorization.and_then(bearer).ok_or(Unauthenticated)?;
                let given = digest(secret);
                // Every token is looked at, and every byte of it.
                let mut found = None;
                for (digest, caller) in known {
                    if differs(digest, &given) == 0 {
                        found = Some(caller);
                    }
                }
                found.cloned().ok_or(Unauthenticated)
            }
        }
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        matches!(*self.0, Kind::Open(_))
    }
}

impl Caller {
    /// A caller that may lock everything.
    pub(crate) fn everything(principal: &str, operator: bool) -> Self {
        Self(Arc::new(Permissions {
            principal: Principal::new(principal),
            operator,
            locks: Permission::all(),
        }))
    }

    fn of(token: Token) -> Self {
        Self(Arc::new(Permissions {
            principal: Principal::new(&token.principal),
            operator: token.operator,
            locks: Permission::of(token.locks),
        }))
    }

    /// Who authenticated.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// Whether they may take locks away from others.
    pub fn is_operator(&self) -> bool {
        self.0.operator
    }

    /// Whether they may use and see the lock `name`.
    pub fn may_lock(&self, name: &LockName) -> bool {
        self.0.locks.covers(name)
    }

    /// The locks they may use and see.
    pub(crate) fn locks(&self) -> &Permission {
        &self.0.locks
    }
}

impl Token {
    fn check(&self) -> Result<(), AccessError> {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let name = &self.principal;
        if name.is_empty() || name.len() > PRINCIPAL_BYTES_MAX || !visible(name) {
            return Err(AccessError::Principal(name.clone()));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(AccessError::Reserved(name.clone()));
        }
        let length = SECRET_BYTES_MIN..=SECRET_BYTES_MAX;
        if !length.contains(&self.secret.len()) || !visible(&self.secret) {
            return Err(AccessError::Secret(name.clone()));
        }
        Ok(())
    }
}

/// The secret in `Bearer <secret>`.
fn bearer(header: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, secret) = header.as_bytes().split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| secret.trim_ascii_start())
}

fn digest(secret: &[u8]) -> Digested {
    Sha256::digest(secret).into()
}

/// Zero if both are the same.
fn differs(a: &Digested, b: &Digested) -> u8 {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b))
}

// === impl fmt ===

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("principal", &self.principal)
            .field("operator", &self.operator)
            .field("locks", &self.locks)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Open(_) => f.write_str("Access(open)"),
            Kind::Tokens(known) => write!(f, "Access({} tokens)", known.len()),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.principal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn token(principal: &str, secret: &str, locks: &[&str]) -> Token {
        Token {
            principal: principal.to_owned(),
            secret: secret.to_owned(),
            operator: false,
            locks: locks
                .iter()
                .map(|it| LockPattern::parse(it).unwrap())
                .collect(),
        }
    }

    fn ask(access: &Access, header: &str) -> Option<String> {
        let header = HeaderValue::from_str(header).unwrap();
        let caller = access.principal_of(Some(&header)).ok()?;
        Some(caller.principal().as_str().to_owned())
    }

    #[test]
    fn without_tokens_everybody_is_an_operator() {
        let caller = Access::open().principal_of(None).unwrap();
        assert_eq!(caller.principal().as_str(), ANONYMOUS);
        assert!(caller.is_operator());
        assert!(caller.may_lock(&LockName::new("any/thing").unwrap()));
    }

    #[test]
    fn only_the_whole_secret_behind_bearer_opens() {
        let other = SECRET.replace('0', "1");
        let tokens = vec![token("a", SECRET, &["**"]), token("b", &other, &[])];
        let access = Access::tokens(tokens).unwrap();
        assert_eq!(ask(&access, &format!("Bearer {SECRET}")).unwrap(), "a");
        assert_eq!(ask(&access, &format!("bEARER  {other}")).unwrap(), "b");
        assert!(access.principal_of(None).is_err());
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            SECRET,
            &format!("Basic {SECRET}"),
            &format!("Bearer {}", &SECRET[1..]),
            &format!("Bearer {SECRET}0"),
        ] {
            assert_eq!(ask(&access, wrong), None, "{wrong}");
        }
        let nobody = Access::tokens(Vec::new()).unwrap();
        assert_eq!(ask(&nobody, &format!("Bearer {SECRET}")), None);
    }

    #[test]
    fn a_token_opens_the_locks_of_its_patterns_only() {
        let tokens = vec![token("a", SECRET, &["b/**", "a/*", "b/c/*", "a/x"])];
        let access = Access::tokens(tokens).unwrap();
        let header = HeaderValue::from_str(&format!("Bearer {SECRET}")).unwrap();
        let caller = access.principal_of(Some(&header)).unwrap();
        assert!(!caller.is_operator());
        assert!(caller.may_lock(&LockName::new("a/1").unwrap()));
        assert!(!caller.may_lock(&LockName::new("c/1").unwrap()));
    }

    #[test]
    fn tokens_that_cannot_work_or_are_unsafe_are_refused() {
        let refusal = |tokens| Access::tokens(tokens).unwrap_err();
        let of = |principal, secret| refusal(vec![token(principal, secret, &["**"])]);
        assert!(matches!(of("", SECRET), AccessError::Principal(_)));
        assert!(matches!(of("a b", SECRET), AccessError::Principal(_)));
        assert!(matches!(of("node", SECRET), AccessError::Reserved(_)));
        assert!(matches!(of("legacy", SECRET), AccessError::Reserved(_)));
        assert!(matches!(of("a", &SECRET[1..]), AccessError::Secret(_)));
        assert!(matches!(
            of("a", "with a space in it"),
            AccessError::Secret(_)
        ));
        let twice = vec![token("a", SECRET, &[]), token("b", SECRET, &[])];
        assert!(matches!(refusal(twice), AccessError::Duplicate(..)));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let token = token("a", SECRET, &["**"]);
        assert!(!format!("{token:?}").contains(SECRET));
    }
}
