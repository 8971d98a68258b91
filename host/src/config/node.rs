//! `lockport.toml`: how a node runs.
//!
//! A value is taken from the command line, else from the environment, else
//! from the file, else it is the default. `deploy/lockport.toml` explains
//! every key; a test holds it to that.

mod given;
mod listen;
mod locks;
mod store;

use super::document::{ConfigError, Document, Origin, Setting};
use super::section::Section;
use super::value::{self, Show, Size, Value};
use crate::telemetry::LogFormat;
pub use given::{ByComponent, Given, Placed, Secret, VALUE_BYTES_MAX};
pub use listen::{CompatConfig, Listen, TokenConfig};
pub use locks::LocksConfig;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
pub use store::{RedisUrl, StoreConfig, StoreUrl};

/// A node's configuration, checked.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where it listens.
    pub listen: Listen,
    /// Who may use the lock API and the administrators' listener. Without any,
    /// whoever reaches them.
    pub tokens: Vec<TokenConfig>,
    /// How the older lock-manager contract is served.
    pub compat: CompatConfig,
    /// Where locks and state live.
    pub store: StoreConfig,
    /// How many locks, waiters and sessions there may be.
    pub locks: LocksConfig,
    /// The components to load: directories with a `component.toml`, or `.wasm`
    /// files with their manifest inside.
    pub load: Vec<PathBuf>,
    /// What they may read of the configuration.
    pub given: Given,
    /// How components are run.
    pub engine: EngineConfig,
    /// How components reach the world outside.
    pub outbound: OutboundConfig,
    /// What one client, and all of them, may ask of the gateway.
    pub limits: Limits,
    /// Requests that may be sent again.
    pub idempotency: Idempotency,
    /// What is logged, and how.
    pub log: Log,
    /// The file it came from, if any.
    pub file: Option<PathBuf>,
    /// Every key, what is in force for it, and where that came from.
    pub settings: Vec<Setting>,
}

/// `[engine]`
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Instances at once, over all components.
    pub instances: u32,
    /// The most memory that a component's manifest may ask for, in bytes.
    pub memory: u64,
    /// Where compiled code is kept.
    pub cache: Cache,
}

/// Where compiled code is kept between starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// In the data directory of an embedded store; else nowhere.
    Auto,
    /// Nowhere: each start compiles.
    Off,
    /// In this directory.
    At(PathBuf),
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. More wait in the system's queue.
    pub connections: usize,
    /// Header fields of one request.
    pub headers: usize,
    /// Request line and headers of one request, in bytes.
    pub header_bytes: usize,
    /// Requests at once on one connection of HTTP/2.
    pub streams: u32,
    /// The body of one request, in bytes. A manifest may ask for less.
    pub request_body: u64,
    /// How long the head of a request may take, from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long a client may refuse to read what it is sent.
    pub write_timeout: Duration,
    /// How long requests under way may take after the node was told to stop.
    pub drain: Duration,
}

/// `[idempotency]`
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// How long the answer to an `Idempotency-Key` is kept.
    pub keep: Duration,
}

/// `[outbound]`
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// The certificates of authorities that are trusted beside those the machine
    /// trusts, as PEM.
    pub ca: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// A level, or directives such as `info,lockport=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

// The ranges that are allowed. An upper end is what is still plausible: above
// it, a slip of the unit is likelier than a wish.
const INSTANCES: RangeInclusive<u32> = 1..=10_000;
const MEMORY: RangeInclusive<u64> = 1 << 20..=4 << 30;
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;
const HEADERS: RangeInclusive<u32> = 8..=1_000;
const HEADER_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 20;
const STREAMS: RangeInclusive<u32> = 1..=1_000_000;
const REQUEST_BODY: RangeInclusive<u64> = 0..=1 << 40;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

const KEEP: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// How long answers are kept by default.
const KEEP_DEFAULT: Duration = Duration::from_secs(24 * 3600);

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

impl NodeConfig {
    /// Every key there is, as `section.key`.
    pub fn keys() -> Vec<String> {
        let document = Document::empty(Origin::Flag("defaults"));
        // An empty document has nothing that could be refused.
        let settings = Self::of(&document)
            .map(|it| it.settings)
            .unwrap_or_default();
        settings.into_iter().map(|it| it.key).collect()
    }

    pub(super) fn of(document: &Document) -> Result<Self, ConfigError> {
        let root = document.root();
        let tokens = TokenConfig::read_all(root.sections("tokens")?)?;
        let listen = Listen::read(root.section("listen")?, !tokens.is_empty())?;
        let config = Self {
            compat: CompatConfig::read(root.section("compat")?, &listen)?,
            listen,
            tokens,
            store: StoreConfig::read(root.section("store")?)?,
            locks: LocksConfig::read(root.section("locks")?)?,
            load: read_load(root.section("components")?)?,
            given: Given::read(&root)?,
            engine: EngineConfig::read(root.section("engine")?)?,
            outbound: OutboundConfig::read(root.section("outbound")?)?,
            limits: Limits::read(root.section("limits")?)?,
            idempotency: Idempotency::read(root.section("idempotency")?)?,
            log: Log::read(root.section("log")?)?,
            file: None,
            settings: Vec::new(),
        };
        root.finish()?;
        Ok(Self {
            settings: document.settings(),
            ..config
        })
    }
}

// === impl sections ===

impl EngineConfig {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let default = lockport_engine::Options::default();
        let cache = section.or("cache", Cache::parse, Cache::Auto)?;
        let cache = match (cache, section.origin_of("cache")) {
            (Cache::At(path), Some(origin)) => Cache::At(origin.resolve(path)),
            (cache, _) => cache,
        };
        let engine = Self {
            instances: section.or("instances", value::integer(INSTANCES), default.instances)?,
            memory: section
                .or("memory", value::size(MEMORY), Size(default.memory))?
                .0,
            cache,
        };
        section.finish()?;
        Ok(engine)
    }
}

impl OutboundConfig {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let ca = section.or("ca", value::text, String::new())?;
        let is_said = !ca.is_empty();
        let ca = match section.origin_of("ca") {
            Some(origin) => origin.resolve(ca.into()),
            None => ca.into(),
        };
        section.finish()?;
        Ok(Self {
            ca: is_said.then_some(ca),
        })
    }
}

impl Cache {
    fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value::nonempty(value)?.as_str() {
            "auto" => Self::Auto,
            "off" => Self::Off,
            path => Self::At(path.into()),
        })
    }
}

impl Limits {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let seconds = Duration::from_secs;
        let timeout = |key, default| section.or(key, value::duration(TIMEOUT), default);
        let bytes = |Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX);
        let limits = Self {
            connections: section.or("connections", value::integer(CONNECTIONS), 10_000)? as usize,
            headers: section.or("headers", value::integer(HEADERS), 100)? as usize,
            header_bytes: bytes(section.or(
                "header_bytes",
                value::size(HEADER_BYTES),
                Size(32 << 10),
            )?),
            streams: section.or("streams", value::integer(STREAMS), 250)?,
            request_body: section
                .or("request_body", value::size(REQUEST_BODY), Size(32 << 20))?
                .0,
            header_timeout: timeout("header_timeout", seconds(10))?,
            idle_timeout: timeout("idle_timeout", seconds(75))?,
            write_timeout: timeout("write_timeout", seconds(30))?,
            drain: section.or("drain", value::duration(DRAIN), seconds(10))?,
        };
        section.finish()?;
        Ok(limits)
    }
}

impl Idempotency {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let keep = section.or("keep", value::duration(KEEP), KEEP_DEFAULT)?;
        section.finish()?;
        Ok(Self { keep })
    }
}

impl Log {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let level = |value: &Value| {
            let text = value::nonempty(value)?;
            match crate::telemetry::check_level(&text) {
                Ok(()) => Ok(text),
                Err(why) => Err(format!("is not a level or directives: {why}")),
            }
        };
        let log = Self {
            level: section.or("level", level, "info".to_owned())?,
            format: section.or("format", value::choice(&LOG_FORMATS), LogFormat::Text)?,
        };
        section.finish()?;
        Ok(log)
    }
}

fn read_load(section: Section<'_>) -> Result<Vec<PathBuf>, ConfigError> {
    let load = section.or("load", value::list(value::path), Vec::new())?;
    let origin = section.origin_of("load");
    section.not_yet("watch")?;
    section.finish()?;
    let resolve = |path| match origin {
        Some(origin) => origin.resolve(path),
        None => path,
    };
    Ok(load.into_iter().map(resolve).collect())
}

// === impl Show ===

impl Show for Cache {
    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned().show(),
            Self::Off => "off".to_owned().show(),
            Self::At(path) => path.show(),
        }
    }
}

impl Show for LogFormat {
    fn show(&self) -> String {
        name_in(&LOG_FORMATS, |it| it == self)
    }
}

/// The word of a choice, as TOML.
fn name_in<T>(choices: &[(&'static str, T)], is: impl Fn(&T) -> bool) -> String {
    let found = choices.iter().find(|(_, it)| is(it));
    found.map_or_else(String::new, |(word, _)| (*word).to_owned().show())
}

#[cfg(test)]
mod tests;
