//! The secrets of tokens, read from their files.
//!
//! A configuration names files and never holds a secret, so it can be shown
//! and kept with the rest.

use super::secret;
use crate::config::node::TokenConfig;
use lockport_locks::{Access, AccessError, SECRET_BYTES_MAX, Token};
use std::io;
use std::path::PathBuf;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file with its secret cannot be read.
    #[error("the secret of `{principal}` cannot be read from `{}`", file.display())]
    Unreadable {
        /// Whose it is.
        principal: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tokens cannot be used as they are.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Who may do what. Without tokens, everybody may do everything. Blocks.
pub(super) fn access(tokens: &[TokenConfig]) -> Result<Access, TokenError> {
    if tokens.is_empty() {
        return Ok(Access::open());
    }
    let tokens: Result<Vec<_>, _> = tokens.iter().map(token).collect();
    Ok(Access::tokens(tokens?)?)
}

fn token(config: &TokenConfig) -> Result<Token, TokenError> {
    // What is longer than any secret is cut, and so refused.
    let secret =
        secret::read(&config.file, SECRET_BYTES_MAX).map_err(|source| TokenError::Unreadable {
            principal: config.principal.clone(),
            file: config.file.clone(),
            source,
        })?;
    Ok(Token {
        principal: config.principal.clone(),
        secret,
        operator: config.operator,
        locks: config.locks.clone(),
    })
}

impl TokenError {
    /// What to do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => {
                Some("put the secret into that file, readable by the node's user only".to_owned())
            }
            Self::Access(AccessError::Secret(_)) => {
                Some("make one with: openssl rand -hex 32".to_owned())
            }
            Self::Access(AccessError::Duplicate(..)) => {
                Some("give each token a secret of its own".to_owned())
            }
            Self::Access(AccessError::Principal(_) | AccessError::Reserved(_)) => {
                Some("choose another `principal` in [[tokens]]".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use lockport_store::LockPattern;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn config(file: PathBuf) -> TokenConfig {
        TokenConfig {
            principal: "billing".to_owned(),
            file,
            operator: true,
            locks: vec![LockPattern::parse("**").unwrap()],
        }
    }

    #[test]
    fn the_end_of_a_line_is_not_part_of_the_secret() {
        for end in ["", "\n", "\r\n"] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("token");
            std::fs::write(&file, format!("{SECRET}{end}")).unwrap();
            let access = access(&[config(file)]).unwrap();
            let header = HeaderValue::from_str(&format!("Bearer {SECRET}")).unwrap();
            let caller = access.principal_of(Some(&header)).unwrap();
            assert_eq!(caller.principal().as_str(), "billing");
            assert!(caller.is_operator());
            assert!(access.principal_of(None).is_err());
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_holds_no_secret_is_refused_with_a_hint() {
        let directory = tempfile::tempdir().unwrap();
        let missing = access(&[config(directory.path().join("missing"))]).unwrap_err();
        assert!(missing.to_string().contains("`billing`"), "{missing}");
        for text in ["short", "", &"x".repeat(SECRET_BYTES_MAX + 100)] {
            let file = directory.path().join("token");
            std::fs::write(&file, text).unwrap();
            let refused = access(&[config(file)]).unwrap_err();
            assert!(
                matches!(refused, TokenError::Access(AccessError::Secret(_))),
                "{refused}"
            );
            assert!(refused.hint().is_some());
        }
    }

    #[test]
    fn without_tokens_nobody_is_asked() {
        assert!(access(&[]).unwrap().is_open());
    }
}
