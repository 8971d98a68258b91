//! `[grants] outbound` and the limits of it: what a component may reach of the
//! world outside, and how much of it.

use crate::config::document::{ConfigError, Entry, Table};
use crate::config::section::Section;
use crate::config::value::{self, Show, Size, Value};
use crate::outbound::Limits;
use crate::outbound::grant::OutboundGrant;
use std::ops::RangeInclusive;
use std::time::Duration;

// The ranges that are allowed; see `node.rs` for what their ends mean.
const CONNECTIONS: RangeInclusive<u32> = 1..=10_000;
const BODY: RangeInclusive<u64> = 0..=1 << 40;
// A guest traps on a message with more than 64 KiB of header fields.
const HEAD: RangeInclusive<u64> = 1 << 10..=64 << 10;
const CONNECT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Reads an entry of the grants: a text, or a table that has it as `to`.
pub(super) fn grant(value: &Value) -> Result<OutboundGrant, String> {
    let Value::Table(table) = value else {
        let text = value::text(value).map_err(|_| {
            format!(
                "must be a URL in quotes, or {{ to = URL, private = true }}, not {}",
                value.kind()
            )
        })?;
        return parse(&text, false);
    };
    let known = |it: &&String| !["to", "private"].contains(&it.as_str());
    if let Some(unknown) = table.keys().find(known) {
        return Err(format!(
            "has the unknown key `{unknown}`; known are to, private"
        ));
    }
    let to = get(table, "to").ok_or("has an entry without `to`")?;
    let to = value::text(to).map_err(|why| format!("has a `to` that {why}"))?;
    let private = get(table, "private").map_or(Ok(false), value::boolean);
    parse(
        &to,
        private.map_err(|why| format!("has a `private` that {why}"))?,
    )
}

/// Reads what of `[limits]` is about the world outside.
pub(super) fn limits(section: &Section<'_>) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let connections = u32::try_from(default.connections).unwrap_or(u32::MAX);
    let head = value::size(HEAD);
    let head = section.or("outbound_head", head, Size(default.head.into()))?;
    Ok(Limits {
        connections: section.or(
            "outbound_connections",
            value::integer(CONNECTIONS),
            connections,
        )? as usize,
        body: section
            .or("outbound_body", value::size(BODY), Size(default.body))?
            .0,
        head: u32::try_from(head.0).unwrap_or(u32::MAX),
        connect: section.or(
            "outbound_connect",
            value::duration(CONNECT),
            default.connect,
        )?,
    })
}

fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    table.get(key).map(|Entry { value, .. }| value)
}

fn parse(text: &str, private: bool) -> Result<OutboundGrant, String> {
    OutboundGrant::parse(text, private).map_err(|why| format!("has `{text}`, {why}"))
}

impl Show for OutboundGrant {
    fn show(&self) -> String {
        let to = self.to_string().show();
        match self.is_private() {
            true => format!("{{ to = {to}, private = true }}"),
            false => to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::manifest::Manifest;
    use std::path::Path;

    fn read(text: &str) -> Result<Manifest, String> {
        let text = format!("manifest = 1\nname = \"seats\"\n{text}");
        Manifest::parse(Path::new("c.toml"), &text).map_err(|it| it.to_string())
    }

    #[test]
    fn grants_and_limits_are_read() {
        let manifest = read(
            r#"
            [grants]
            outbound = [
                "https://a.example:443",
                "http://*.a.example:81",
                { to = "http://db.lan", private = true },
                { to = "http://127.0.0.1:8080" },
            ]
            [limits]
            outbound_connections = 2
            outbound_body = "1KiB"
            outbound_head = "8KiB"
            outbound_connect = "250ms"
            "#,
        )
        .unwrap();
        assert_eq!(
            manifest.grants.outbound.show(),
            "[\"https://a.example\", \"http://*.a.example:81\", \
             { to = \"http://db.lan\", private = true }, \"http://127.0.0.1:8080\"]"
        );
        let limits = manifest.limits.outbound;
        assert_eq!((limits.connections, limits.body), (2, 1 << 10));
        assert_eq!((limits.head, limits.connect.as_millis()), (8 << 10, 250));
    }

    #[test]
    fn what_is_left_out_has_a_default_and_nothing_is_granted() {
        let manifest = read("").unwrap();
        assert!(manifest.grants.outbound.is_empty());
        assert_eq!(manifest.limits.outbound.connections, 64);
        assert_eq!(manifest.limits.outbound.body, 32 << 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (
                "[grants]\noutbound = [\"a\"]",
                "c.toml:4: `grants.outbound` has `a`, which has no `://` (entry 1)",
            ),
            (
                "[grants]\noutbound = [1]",
                "c.toml:4: `grants.outbound` must be a URL in quotes, or { to = URL, private = \
                 true }, not 1 (entry 1)",
            ),
            (
                "[grants]\noutbound = [{ private = true }]",
                "c.toml:4: `grants.outbound` has an entry without `to` (entry 1)",
            ),
            (
                "[grants]\noutbound = [{ to = \"http://a.b\", privat = true }]",
                "c.toml:4: `grants.outbound` has the unknown key `privat`; known are to, private \
                 (entry 1)",
            ),
            (
                "[limits]\noutbound_head = \"65KiB\"",
                "c.toml:4: `limits.outbound_head` is 65KiB; it must be 1KiB to 64KiB",
            ),
            (
                "[limits]\noutbound_connect = \"0s\"",
                "c.toml:4: `limits.outbound_connect` is 0s; it must be 1ms to 1m",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }
}
