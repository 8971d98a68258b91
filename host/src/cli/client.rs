//! What the commands share that talk to a lock API: how it is reached, and how
//! the locks are asked for.

use super::arguments::{Server, Wanted};
use super::exit::{Exit, Report};
use super::{Color, Global};
use crate::telemetry::{self, LogFormat, writer::Flush};
use lockport_client::{Acquire, Client, Options};
use std::path::Path;
use tokio::runtime::Runtime;

/// The longest token file that is read: a token is a line.
const TOKEN_BYTES_MAX: u64 = 4096;

/// How the lock API is reached. Reads the token.
pub(super) fn options(server: &Server) -> Result<Options, Report> {
    let mut options = Options {
        server: server.server.clone(),
        ..Options::from_env()
    };
    if let Some(file) = &server.token_file {
        options.token = Some(read_token(file)?);
    }
    Ok(options)
}

/// What is asked for, not sent yet.
pub(super) fn acquire(client: &Client, wanted: &Wanted) -> Acquire {
    let mut acquire = client.acquire(&wanted.names).lease(wanted.lease);
    if wanted.shared {
        acquire = acquire.shared();
    }
    if let Some(permits) = wanted.permits {
        acquire = acquire.permits(permits);
    }
    if let Some(wait) = wanted.wait {
        acquire = acquire.wait(wait);
    }
    if let Some(owner) = &wanted.owner {
        acquire = acquire.owner(owner);
    }
    if let Some(holder) = &wanted.holder {
        acquire = acquire.holder(holder);
    }
    acquire
}

/// Logs warnings, or what `-v` asks for.
pub(super) fn log(global: &Global) -> Flush {
    telemetry::start(&telemetry::Options {
        level: match global.verbose {
            0 => "warn",
            1 => "info,lockport=debug,lockport_client=debug",
            _ => "debug",
        }
        .to_owned(),
        format: LogFormat::Text,
        color: match global.color {
            Color::Auto => None,
            Color::Always => Some(true),
            Color::Never => Some(false),
        },
    })
}

/// One thread is enough for one client.
pub(super) fn runtime() -> Result<Runtime, Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| Report::fault(&error))
}

fn read_token(file: &Path) -> Result<String, Report> {
    use std::io::Read;
    let refuse = |cause: String| Report {
        exit: Exit::Usage,
        error: format!("the token cannot be read from `{}`", file.display()),
        causes: vec![cause],
        hint: None,
    };
    let mut text = Vec::new();
    std::fs::File::open(file)
        // One more than allowed, to see that there is more.
        .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        let why = format!("it has more than {TOKEN_BYTES_MAX} bytes: a token is a line");
        return Err(refuse(why));
    }
    let text = String::from_utf8(text).map_err(|error| refuse(error.to_string()))?;
    match text.trim() {
        "" => Err(refuse("the file is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}
