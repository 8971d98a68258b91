//! `component.toml`: what a component is, serves, owns and may do.
//!
//! A manifest is written by the component's author and travels with the code,
//! so it says nothing about a node. What can be checked without the code and
//! without other components is checked here, also that the grants cover the
//! locks the manifest itself asks for: a route that could never take its lock
//! is a mistake, and it is found before anything listens.

mod outbound;

use super::document::{ConfigError, Document};
use super::section::Section;
use super::value::{self, Show, Size, Value};
use crate::gateway::pattern::{Methods, NameTemplate, PathPattern, RouteLock, RouteSpec};
use crate::outbound::{self as outside, grant::OutboundGrant};
use lockport_engine::{LockPattern, Reuse};
use lockport_store::store::{NAMES_PER_GRANT_MAX, WAIT_MAX};
use lockport_store::{Collection, LockName};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of a manifest in a component's directory.
pub const FILE: &str = "component.toml";

/// A component's manifest, checked.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name: a letter, then letters, digits and `-`, at most 63 in all.
    pub name: String,
    /// The command that builds it, for messages.
    pub build: Option<String>,
    /// Its code, for a manifest that lies beside it.
    pub wasm: Option<PathBuf>,
    /// The sources that a build depends on.
    pub watch: Vec<PathBuf>,
    /// How often an instance is used.
    pub reuse: Reuse,
    /// What it serves.
    pub routes: Vec<RouteSpec>,
    /// Its collections by name.
    pub collections: HashMap<String, Collection>,
    /// What it may do.
    pub grants: Grants,
    /// What it may use.
    pub limits: Limits,
}

/// `[grants]`: nothing is allowed that is not here.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Names of locks it may acquire, and see of its callers' guards.
    pub locks: Vec<LockPattern>,
    /// Components it may call.
    pub calls: Vec<String>,
    /// Keys of configuration it may read.
    pub config: Vec<String>,
    /// Secrets it may read; no key is both.
    pub secrets: Vec<String>,
    /// What it may reach of the world outside.
    pub outbound: Vec<OutboundGrant>,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// What the engine keeps.
    pub engine: lockport_engine::Limits,
    /// How long a request may take, from its head to the end of its answer.
    pub deadline: Duration,
    /// A request's body, in bytes; `None` for whatever the node allows.
    pub request_body: Option<u64>,
    /// An answer that is held until its commit, in bytes.
    pub response_held: u64,
    /// What it may use of the world outside.
    pub outbound: outside::Limits,
}

/// The version of the manifest's format.
const VERSION: u32 = 1;
/// The longest name of a component or collection, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// The longest key of configuration, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// Routes, collections: more is a mistake.
const ENTRIES_MAX: usize = 1_000;

// The ranges that are allowed; see `node.rs` for what their ends mean.
const REUSE: RangeInclusive<u32> = 1..=1_000_000_000;
const MEMORY: RangeInclusive<u64> = 64 << 10..=4 << 30;
const TABLE_ELEMENTS: RangeInclusive<u32> = 1..=20_000;
const INSTANCES: RangeInclusive<u32> = 1..=10_000;
const QUEUE: RangeInclusive<u32> = 0..=1_000_000;
const HANDLES: RangeInclusive<u32> = 16..=1_000_000;
const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const REQUEST_BODY: RangeInclusive<u64> = 0..=1 << 40;
const RESPONSE_HELD: RangeInclusive<u64> = 1..=16 << 20;
const WAIT: RangeInclusive<Duration> = Duration::ZERO..=WAIT_MAX;

/// How long a request may take by default.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How much of an answer is held by default, in bytes.
const RESPONSE_HELD_DEFAULT: u64 = 256 << 10;

impl Manifest {
    /// Reads a manifest that lies in a directory.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        Self::of(&Document::read(file)?)
    }

    /// Parses what `file` contains, or what it carries inside.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::of(&Document::parse(file, text)?)
    }

    /// Whether its grants cover a lock name.
    pub fn grants_lock(&self, name: &LockName) -> bool {
        self.grants.locks.iter().any(|it| it.matches(name))
    }

    fn of(document: &Document) -> Result<Self, ConfigError> {
        let root = document.root();
        root.required("manifest", value::integer(VERSION..=VERSION))?;
        let name = root.required("name", component_name)?;
        let grants = Grants::read(root.section("grants")?)?;
        let limits = Limits::read(root.section("limits")?)?;
        let routes = read_routes(&root, &grants, &limits)?;
        let manifest = Self {
            build: root.optional("build", value::nonempty)?,
            wasm: root.optional("wasm", value::path)?,
            watch: root.or("watch", value::list(value::path), Vec::new())?,
            reuse: root.or("reuse", reuse, Reuse::Never)?,
            collections: read_collections(&root, &name, &grants)?,
            name,
            routes,
            grants,
            limits,
        };
        root.not_yet("grpc")?;
        root.not_yet("consumes")?;
        root.finish()?;
        Ok(manifest)
    }
}

impl Grants {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let grants = Self {
            locks: section.or("locks", value::list(value::lock_pattern), Vec::new())?,
            calls: section.or("calls", value::list(component_name), Vec::new())?,
            config: section.or("config", value::list(config_key), Vec::new())?,
            secrets: section.or("secrets", value::list(config_key), Vec::new())?,
            outbound: section.or("outbound", value::list(outbound::grant), Vec::new())?,
        };
        if let Some(key) = grants.secrets.iter().find(|it| grants.config.contains(it)) {
            let why = format!("has `{key}`, which `grants.config` has too");
            return Err(section.wrong("secrets", why, None));
        }
        for later in ["emits", "consumes"] {
            section.not_yet(later)?;
        }
        section.finish()?;
        Ok(grants)
    }
}

impl Limits {
    fn read(section: Section<'_>) -> Result<Self, ConfigError> {
        let default = lockport_engine::Limits::default();
        let number = |key, allowed, default: usize| {
            let default = u32::try_from(default).unwrap_or(u32::MAX);
            let number = section.or(key, value::integer(allowed), default)?;
            Ok::<_, ConfigError>(number as usize)
        };
        let limits = Self {
            engine: lockport_engine::Limits {
                memory: section
                    .or("memory", value::size(MEMORY), Size(default.memory))?
                    .0,
                table_elements: number("table_elements", TABLE_ELEMENTS, default.table_elements)?,
                instances: number("instances", INSTANCES, default.instances)?,
                queue: number("queue", QUEUE, default.queue)?,
                handles: number("handles", HANDLES, default.handles)?,
            },
            deadline: section.or("deadline", value::duration(DEADLINE), DEADLINE_DEFAULT)?,
            request_body: section
                .optional("request_body", value::size(REQUEST_BODY))?
                .map(|it| it.0),
            response_held: section
                .or(
                    "response_held",
                    value::size(RESPONSE_HELD),
                    Size(RESPONSE_HELD_DEFAULT),
                )?
                .0,
            outbound: outbound::limits(&section)?,
        };
        section.finish()?;
        Ok(limits)
    }
}

fn read_routes(
    root: &Section<'_>,
    grants: &Grants,
    limits: &Limits,
) -> Result<Vec<RouteSpec>, ConfigError> {
    let sections = root.sections("http")?;
    if sections.len() > ENTRIES_MAX {
        return Err(root.wrong("http", format!("has more than {ENTRIES_MAX} entries"), None));
    }
    let routes = sections.into_iter();
    routes.map(|it| read_route(it, grants, limits)).collect()
}

fn read_route(
    section: Section<'_>,
    grants: &Grants,
    limits: &Limits,
) -> Result<RouteSpec, ConfigError> {
    let path = section.required("path", |it| PathPattern::parse(&value::text(it)?))?;
    let methods = |it: &Value| Methods::parse(&value::list(value::text)(it)?);
    let lock = match section.optional_section("lock")? {
        Some(lock) => Some(read_lock(lock, &path, grants, limits)?),
        None => None,
    };
    let route = RouteSpec {
        methods: section.or("methods", methods, Methods::ANY)?,
        lock,
        path,
    };
    // Every answer streams already; the key is for routes that must not be
    // held when holding comes.
    section.or("stream", value::boolean, false)?;
    section.not_yet("host")?;
    section.finish()?;
    Ok(route)
}

fn read_lock(
    section: Section<'_>,
    path: &PathPattern,
    grants: &Grants,
    limits: &Limits,
) -> Result<RouteLock, ConfigError> {
    let template = |it: &Value| NameTemplate::parse(&value::text(it)?, path);
    let names = section.required("names", value::list(template))?;
    if names.is_empty() || names.len() > NAMES_PER_GRANT_MAX {
        let why = format!(
            "has {} names; it must have 1 to {NAMES_PER_GRANT_MAX}",
            names.len()
        );
        return Err(section.wrong("names", why, None));
    }
    for name in &names {
        let covered = name.example().is_ok_and(|it| covers(grants, &it));
        if !covered {
            return Err(not_granted(
                &section,
                "names",
                &name.to_string(),
                name.to_string(),
            ));
        }
    }
    let wait = section.or("wait", value::duration(WAIT), Duration::ZERO)?;
    if wait >= limits.deadline {
        let why = "is not shorter than the component's `limits.deadline`: the wait could never end";
        return Err(section.wrong("wait", why, None));
    }
    section.finish()?;
    Ok(RouteLock { names, wait })
}

fn read_collections(
    root: &Section<'_>,
    owner: &str,
    grants: &Grants,
) -> Result<HashMap<String, Collection>, ConfigError> {
    let mut collections = HashMap::new();
    for (name, section) in root.named_sections("collections")? {
        if !is_name(&name.replace('_', "-")) {
            return Err(ConfigError::Wrong {
                origin: section.origin().clone(),
                message: format!("the collection `{name}` {NAME_RULE}"),
                hint: None,
            });
        }
        for later in ["kind", "ttl", "bytes"] {
            section.not_yet(later)?;
        }
        let guard = section.optional("guard", value::nonempty)?;
        let collection = Collection::new(owner, name, guard.as_deref())
            .map_err(|error| section.wrong("guard", format!("is refused: {error}"), None))?;
        if let Some(guard) = guard {
            // The guard's template is a lock name with one parameter, `key`.
            let example = NameTemplate::parse(&guard, &key_path())
                .and_then(|template| template.example().map_err(|error| error.to_string()));
            let example = example.map_err(|why| section.wrong("guard", why, None))?;
            if !covers(grants, &example) {
                return Err(not_granted(&section, "guard", &guard, guard.clone()));
            }
        }
        section.finish()?;
        collections.insert(name.to_owned(), collection);
    }
    if collections.len() > ENTRIES_MAX {
        return Err(root.wrong(
            "collections",
            format!("has more than {ENTRIES_MAX} entries"),
            None,
        ));
    }
    Ok(collections)
}

fn covers(grants: &Grants, name: &LockName) -> bool {
    grants.locks.iter().any(|it| it.matches(name))
}

fn not_granted(section: &Section<'_>, key: &str, name: &str, template: String) -> ConfigError {
    let pattern: Vec<_> = template
        .split('/')
        .map(|it| if it.contains('{') { "*" } else { it })
        .collect();
    section.wrong(
        key,
        format!("needs locks named `{name}`, which `grants.locks` does not cover"),
        Some(format!("add \"{}\" to `grants.locks`", pattern.join("/"))),
    )
}

/// A path whose one parameter is the `key` of a guard.
fn key_path() -> PathPattern {
    PathPattern::parse("/{key}").expect("the literal is a path")
}

const NAME_RULE: &str =
    "must be a letter, then letters, digits and `-`, all in lower case, at most 63";

fn component_name(value: &Value) -> Result<String, String> {
    match value::text(value)? {
        it if is_name(&it) => Ok(it),
        it => Err(format!("is `{it}`; it {NAME_RULE}")),
    }
}

fn config_key(value: &Value) -> Result<String, String> {
    let key = value::text(value)?;
    let is_allowed = |it: u8| it.is_ascii_alphanumeric() || b"_-.".contains(&it);
    match key.len() {
        1..=KEY_BYTES_MAX if key.bytes().all(is_allowed) => Ok(key),
        _ => Err(format!(
            "has `{key}`; a key has letters, digits, `_`, `-` and `.`, 1 to {KEY_BYTES_MAX}"
        )),
    }
}

/// Whether `name` may be the name of a component. Such a name is also a DNS
/// label, so it can be a component's host in a call. Collections are named by
/// the same rule, with `_` for `-` if their owner likes.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|it: char| it.is_ascii_lowercase())
        && name
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
}

fn reuse(value: &Value) -> Result<Reuse, String> {
    if matches!(value::text(value).as_deref(), Ok("never")) {
        return Ok(Reuse::Never);
    }
    match value::integer(REUSE)(value) {
        Ok(1) => Ok(Reuse::Never),
        Ok(requests) => Ok(Reuse::Requests(requests)),
        Err(why) => Err(format!("{why}, or \"never\"")),
    }
}

// === impl Show ===

impl Show for Reuse {
    fn show(&self) -> String {
        match self {
            Self::Never => "never".to_owned().show(),
            Self::Requests(requests) => requests.show(),
        }
    }
}

impl Show for NameTemplate {
    fn show(&self) -> String {
        self.to_string().show()
    }
}

impl Show for PathPattern {
    fn show(&self) -> String {
        self.text().to_string().show()
    }
}

impl Show for Methods {
    fn show(&self) -> String {
        self.to_string().show()
    }
}

#[cfg(test)]
mod tests;
