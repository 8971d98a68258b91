//! Why a component gave no answer.

/// Why a component gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It trapped, exited or ran out of a limit. The text is for the log.
    #[error("the handler trapped: {0}")]
    Trapped(String),
    /// The deadline passed.
    #[error("the handler did not finish before its deadline")]
    Deadline,
    /// It returned without setting a response, set an error, or did not finish
    /// its body. The text is for the log.
    #[error("the handler gave no response: {0}")]
    NoResponse(String),
    /// Every instance is at work and the queue is full, or the caller does not
    /// queue.
    #[error("no instance is free")]
    Overloaded,
    /// The host failed. The text is for the log.
    #[error("the host failed: {0}")]
    Host(String),
}

/// The longest text a failure carries, in bytes: parts of it come from guests.
const TEXT_BYTES_MAX: usize = 512;

impl Failure {
    /// What an error out of an instance means.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Overloaded;
        }
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Self::Trapped(format!("it exited with status {}", exit.0));
        }
        Self::Trapped(cut(format!("{error:#}")))
    }

    /// A request that has no usable response, and why.
    pub(crate) fn no_response(why: impl Into<String>) -> Self {
        Self::NoResponse(cut(why.into()))
    }

    /// What a panic below the engine means.
    pub(crate) fn of_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::Host(cut(format!("it panicked: {text}")))
    }
}

/// `text`, at most [`TEXT_BYTES_MAX`] bytes of it, on one line.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str("...");
    }
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_s_text_is_bounded_and_on_one_line() {
        let Failure::NoResponse(text) = Failure::no_response("\u{e9}\n".repeat(1_000)) else {
            panic!("another failure");
        };
        assert!(text.len() <= TEXT_BYTES_MAX + "...".len());
        assert!(text.ends_with("..."));
        assert!(!text.contains('\n'));
    }

    #[test]
    fn a_panic_s_message_is_kept_for_the_log() {
        for payload in [
            Box::new("boom") as Box<dyn std::any::Any + Send>,
            Box::new("boom".to_owned()),
        ] {
            assert_eq!(
                Failure::of_panic(&*payload),
                Failure::Host("it panicked: boom".to_owned())
            );
        }
    }
}
