//! Logs: where they go, how they look, which are written.
//!
//! Lines go to standard error through a bounded buffer ([`writer`]): a slow
//! terminal or pipe costs lines, never requests. Standard output is for what
//! was asked for.

pub mod writer;

use std::error::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use writer::{BufferedStderr, Flush};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct Options {
    /// A level or directives; checked by [`check_level`].
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether text may have colours; `None` if it depends on the terminal.
    pub color: Option<bool>,
}

/// Why a level is refused.
pub fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(level)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Starts logging for the whole process. Does nothing if something else logs
/// already, as in tests. Dropping what is returned writes what is buffered.
pub fn start(options: &Options) -> Flush {
    let (stderr, flush) = BufferedStderr::start(options.format);
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(&options.level);
    let color = options.color.unwrap_or_else(|| {
        anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
    });
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let started = match options.format {
        LogFormat::Text => registry.with(lines.with_ansi(color)).try_init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry.with(lines.with_span_list(false)).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("something logs already");
    }
    flush
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
