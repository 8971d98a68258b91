//! The library of functions that does in Redis what the [core](crate::core)
//! does in a process: the same machine, written in Lua.
//!
//! Its name carries its version. A node loads the one it knows if it is not
//! there, and never replaces another: nodes of two versions can use one space as
//! long as they agree on its keys.

use std::sync::OnceLock;

/// The parts of the library, in the order in which they need each other.
macro_rules! parts {
    ($($name:literal),* $(,)?) => {
        [$(include_str!(concat!("library/", $name, ".lua"))),*]
    };
}

const PARTS: [&str; 16] = parts!(
    "step",
    "requests",
    "deadlines",
    "locks",
    "groups",
    "ended",
    "patterns",
    "tell",
    "nodes",
    "sessions",
    "acquire",
    "ends",
    "deadlock",
    "look",
    "state",
    "recovery",
);

/// A library, and the clock it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The one that nodes use: by the server's clock.
    Server,
    /// For tests: by a time that is handed in with each call.
    #[cfg(test)]
    ByHand,
    /// For tests: by the server's clock, which is set forward and back.
    #[cfg(test)]
    Leaping,
}

impl Library {
    /// Its name, with which the names of its functions begin.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "lockport_1",
            #[cfg(test)]
            Self::ByHand => "lockport_1_by_hand",
            #[cfg(test)]
            Self::Leaping => "lockport_1_leaping",
        }
    }

    /// Its text, for `FUNCTION LOAD`.
    pub(crate) fn text(self) -> &'static str {
        static SERVER: OnceLock<String> = OnceLock::new();
        #[cfg(test)]
        static BY_HAND: OnceLock<String> = OnceLock::new();
        #[cfg(test)]
        static LEAPING: OnceLock<String> = OnceLock::new();
        let kept = match self {
            Self::Server => &SERVER,
            #[cfg(test)]
            Self::ByHand => &BY_HAND,
            #[cfg(test)]
            Self::Leaping => &LEAPING,
        };
        kept.get_or_init(|| self.assemble())
    }

    /// What time it is, and how the store goes by that.
    fn clock(self) -> &'static [&'static str] {
        match self {
            Self::Server => &parts!("wall_clock", "slew"),
            #[cfg(test)]
            Self::ByHand => &parts!("clock_by_hand"),
            #[cfg(test)]
            Self::Leaping => &parts!("wall_clock_that_leaps", "slew"),
        }
    }

    fn assemble(self) -> String {
        let name = self.name();
        let head = format!("#!lua name={name}\nlocal LIBRARY = '{name}'\n");
        let functions = include_str!("library/functions.lua");
        let parts = self.clock().iter().chain(&PARTS).copied();
        let parts = [head.as_str()].into_iter().chain(parts);
        parts.chain([functions]).collect()
    }
}
