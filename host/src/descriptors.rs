//! How many files and sockets the process may have open.
//!
//! Systems start a process with few, 1 024 often, so as not to upset programs
//! that are older than `poll`. Every connection takes one, and a node that
//! runs out cannot accept.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the most that the system lets the process have.
/// Returns the limit that is in force; `None` if there is none.
pub fn raise() -> Option<u64> {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, most) {
        Ok(()) => most.current,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            now.current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_can_be() {
        let raised = raise();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
        assert_eq!(raise(), raised);
    }
}
