//! Everything that is printed. The only file that does.
//!
//! A closed pipe is no error: whoever read has seen enough.

use super::exit::{Exit, Report};
use super::{Color, Format};
use crate::config::NodeConfig;
use crate::config::document::Setting;
use crate::node::Ready;
use anstream::{AutoStream, ColorChoice};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

/// Prints in the format that was asked for.
pub(super) struct Output {
    format: Format,
    color: ColorChoice,
}

/// An object on a line, tagged by what it is.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Ready(&'a Ready),
    Checked(&'a Ready),
    Packed {
        component: &'a str,
        file: String,
        bytes: usize,
    },
    Setting {
        key: &'a str,
        value: Option<&'a str>,
        origin: String,
    },
    Error {
        error: &'a str,
        causes: &'a [String],
        hint: Option<&'a str>,
        exit_code: u8,
    },
}

const ERROR: &str = "\u{1b}[1;31m";
const HINT: &str = "\u{1b}[1;36m";
const STRONG: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

impl Output {
    pub(super) fn new(format: Format, color: Color) -> Self {
        Self {
            format,
            color: match color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
        }
    }

    /// A node is ready: everything listens and every component is loaded.
    pub(super) fn ready(&self, ready: &Ready, config: &NodeConfig) {
        match self.format {
            Format::Json => self.line(&Event::Ready(ready)),
            Format::Text => self.out(&summary(ready, config)),
        }
    }

    /// A node could be started.
    pub(super) fn checked(&self, ready: &Ready, config: &NodeConfig) {
        match self.format {
            Format::Json => self.line(&Event::Checked(ready)),
            Format::Text => self.out(&format!("{}ok: it would start\n", summary(ready, config))),
        }
    }

    /// A component was packed.
    pub(super) fn packed(&self, component: &str, file: &Path, bytes: usize) {
        let file = file.display().to_string();
        match self.format {
            Format::Json => self.line(&Event::Packed {
                component,
                file,
                bytes,
            }),
            Format::Text => self.out(&format!("packed {component} into {file} ({bytes} bytes)\n")),
        }
    }

    /// What is in force, and where each value came from.
    pub(super) fn settings(&self, config: &NodeConfig) {
        match self.format {
            Format::Text => self.out(&settings(&config.settings)),
            Format::Json => {
                for setting in &config.settings {
                    self.line(&Event::Setting {
                        key: &setting.key,
                        value: setting.value.as_deref(),
                        origin: origin(setting),
                    });
                }
            }
        }
    }

    /// What a lock API answered: as its JSON, or as `text` says it. Breaks if
    /// nobody reads any more.
    pub(super) fn answer<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> ControlFlow<()> {
        match self.format {
            Format::Json => self.write(&json(answer)),
            Format::Text => self.write(&text(answer)),
        }
    }

    /// The command failed.
    pub(super) fn error(&self, report: &Report) {
        let text = match self.format {
            Format::Text => explain(report),
            Format::Json => json(&Event::Error {
                error: &report.error,
                causes: &report.causes,
                hint: report.hint.as_deref(),
                exit_code: report.exit.code(),
            }),
        };
        // Nobody is left to be told if this fails.
        let _ = AutoStream::new(std::io::stderr(), self.color).write_all(text.as_bytes());
    }

    fn line(&self, event: &Event<'_>) {
        self.out(&json(event));
    }

    fn out(&self, text: &str) {
        // A closed pipe ends quietly.
        let _ = self.write(text);
    }

    fn write(&self, text: &str) -> ControlFlow<()> {
        let mut stdout = AutoStream::new(std::io::stdout(), self.color);
        let written = stdout.write_all(text.as_bytes());
        match written.and_then(|()| stdout.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Prints what is wrong with the command line, or the help that was asked for.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe ends quietly.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Usage.into(),
        false => Exit::Done.into(),
    }
}

fn json(event: &impl Serialize) -> String {
    // Strings, numbers and lists of them always have a JSON form.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    line
}

/// What a node says when it starts, for people.
fn summary(ready: &Ready, config: &NodeConfig) -> String {
    let mut text = format!("{STRONG}lockport {}{PLAIN}\n", ready.version);
    let file = match &config.file {
        Some(file) => file.display().to_string(),
        None => "none, defaults".to_owned(),
    };
    let mut field = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    field("config", &file);
    for (name, address) in &ready.listeners {
        field(name, &format!("http://{address}"));
    }
    field("access", &ready.access);
    field("compat", &ready.compat);
    field("store", &ready.store);
    for component in &ready.components {
        field("component", &format!("{STRONG}{}{PLAIN}", component.name));
        for route in &component.routes {
            field("", &format!("  {route}"));
        }
        for (what, names) in [("locks", &component.locks), ("calls", &component.calls)] {
            if !names.is_empty() {
                field("", &format!("  {what}: {}", names.join(", ")));
            }
        }
    }
    text
}

fn settings(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in settings {
        let (table, key) = setting.key.split_once('.').unwrap_or(("", &setting.key));
        if table != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{table}]");
            section = table;
        }
        let value = setting.value.as_deref().unwrap_or("");
        let _ = writeln!(
            text,
            "{:<40} # {}",
            format!("{key} = {value}"),
            origin(setting)
        );
    }
    text
}

fn origin(setting: &Setting) -> String {
    match &setting.origin {
        None => "default".to_owned(),
        Some(origin) => origin.to_string(),
    }
}

/// An error for people: what, why, and what to do.
fn explain(report: &Report) -> String {
    let mut text = format!("{ERROR}error:{PLAIN} {}\n", report.error);
    for cause in &report.causes {
        let _ = writeln!(text, "  caused by: {cause}");
    }
    if let Some(hint) = &report.hint {
        let _ = writeln!(text, "\n{HINT}hint:{PLAIN} {hint}");
    }
    text
}

#[cfg(test)]
mod tests;
