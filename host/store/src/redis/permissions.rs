//! What a server's user has to be allowed: looked at when a store is opened, so
//! that it is not found out later, in the middle of something.
//!
//! The commands are queued as a transaction of the server's own, and never run:
//! those that the user may not give are refused when they are queued.

use super::fitness::{Refusal, Unfit};
use super::link::Connected;
use super::space::Space;
use redis::{Cmd, RedisError, cmd};
use std::collections::BTreeSet;

/// What is done to keys, by nodes and by the functions, each with what stands
/// behind the key.
const ON_KEYS: [(&str, &[&str]); 30] = [
    ("DEL", &[]),
    ("EXISTS", &[]),
    ("GET", &[]),
    ("GETRANGE", &["0", "0"]),
    ("HDEL", &["f"]),
    ("HGET", &["f"]),
    ("HINCRBY", &["f", "1"]),
    ("HMGET", &["f"]),
    ("HSCAN", &["0"]),
    ("HSET", &["f", "v"]),
    ("LINDEX", &["0"]),
    ("LLEN", &[]),
    ("LPOP", &[]),
    ("LPOS", &["v"]),
    ("LPUSH", &["v"]),
    ("LRANGE", &["0", "0"]),
    ("LTRIM", &["0", "0"]),
    ("RPUSH", &["v"]),
    ("SADD", &["v"]),
    ("SET", &["v"]),
    ("SRANDMEMBER", &[]),
    ("SREM", &["v"]),
    ("XADD", &["*", "f", "v"]),
    ("XRANGE", &["-", "+"]),
    ("ZADD", &["0", "v"]),
    ("ZCARD", &[]),
    ("ZLEXCOUNT", &["-", "+"]),
    ("ZPOPMIN", &[]),
    ("ZRANGE", &["0", "0"]),
    ("ZREM", &["v"]),
];

/// What is done to no key, and how that is called in a rule.
const OTHERS: [(&str, &[&str]); 4] = [
    ("info", &["INFO"]),
    ("time", &["TIME"]),
    ("fcall", &["FCALL", "f", "0"]),
    ("function|load", &["FUNCTION", "LOAD", "f"]),
];

/// What is needed only for a database other than 0, only in a cluster, and only
/// with replicas that have to know.
#[cfg(test)]
const SOMETIMES: [&str; 3] = ["select", "cluster|slots", "wait"];

/// A rule of a server for its users.
type Rule = String;

/// Looks whether the server's user is allowed what a node needs; with `waits`,
/// also to wait for replicas. To be called on a connection on which nothing else
/// is sent, and that is given up if this fails.
pub(super) async fn check(on: &Connected, space: &Space, waits: bool) -> Result<(), Refusal> {
    let begun = on.ask(&cmd("MULTI")).await;
    if begun.as_ref().is_err_and(is_forbidden) {
        // Without it what follows would be done.
        return Err(Unfit::Permissions(rule_of("multi")).into());
    }
    begun?;
    let mut commands = commands(space, waits);
    commands.push((rule_of("discard"), cmd("DISCARD")));
    let answers = on.ask_all(commands.iter().map(|it| it.1.clone())).await?;
    let mut lacking = BTreeSet::new();
    for ((rule, _), answer) in commands.into_iter().zip(answers) {
        // Whatever else there is to say, it is said when it is done.
        if let Some(error) = answer.err().filter(is_forbidden) {
            lacking.insert(what_lacks(&error, rule, space));
        }
    }
    if lacking.is_empty() {
        lacking.extend(cannot_subscribe(on, space).await?);
    }
    match lacking.is_empty() {
        true => Ok(()),
        false => {
            let rules: Vec<Rule> = lacking.into_iter().collect();
            Err(Unfit::Permissions(rules.join(" ")).into())
        }
    }
}

/// Every command that is checked in the transaction, and its rule.
fn commands(space: &Space, waits: bool) -> Vec<(Rule, Cmd)> {
    let mut commands = Vec::new();
    for (name, more) in ON_KEYS {
        let mut command = cmd(name);
        command.arg(space.nothing()).arg(more);
        commands.push((rule_of(name), command));
    }
    for (name, command) in OTHERS {
        commands.push((rule_of(name), words(command)));
    }
    let mut publish = cmd("PUBLISH");
    publish.arg(space.events()).arg("");
    commands.push((rule_of("publish"), publish));
    if waits {
        commands.push((rule_of("wait"), words(&["WAIT", "0", "1"])));
    }
    commands
}

/// What the user lacks for hearing what is published.
async fn cannot_subscribe(on: &Connected, space: &Space) -> Result<Option<Rule>, RedisError> {
    let channel = space.events().into_bytes();
    let tried = [
        ("subscribe", on.subscribe(&channel).await),
        ("unsubscribe", on.unsubscribe(&channel).await),
    ];
    for (name, done) in tried {
        match done {
            Err(error) if is_forbidden(&error) => {
                return Ok(Some(what_lacks(&error, rule_of(name), space)));
            }
            done => done?,
        }
    }
    Ok(None)
}

/// Which rule would have allowed it: of a command, a channel, or a key.
fn what_lacks(error: &RedisError, rule: Rule, space: &Space) -> Rule {
    let text = error.to_string();
    let all = space.all();
    if text.contains("command") {
        rule
    } else if text.contains("channel") {
        format!("&{all}")
    } else {
        format!("~{all}")
    }
}

fn is_forbidden(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

fn rule_of(name: &str) -> Rule {
    format!("+{}", name.to_lowercase())
}

fn words(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}

/// All that a user of the space needs, as rules.
#[cfg(test)]
pub(super) fn rules(space: &str) -> String {
    let all = format!("{{{}}}:*", super::space::tag(space));
    let mut names: Vec<&str> = ON_KEYS.iter().chain(&OTHERS).map(|it| it.0).collect();
    names.extend(["discard", "multi", "publish", "subscribe", "unsubscribe"]);
    names.extend(SOMETIMES);
    let mut rules: Vec<Rule> = names.into_iter().map(rule_of).collect();
    rules.sort();
    format!("resetchannels ~{all} &{all} {}", rules.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::library::Library;

    /// What nodes do to keys without a function.
    const BY_NODES: [&str; 6] = ["GETRANGE", "HGET", "HSCAN", "LRANGE", "XRANGE", "ZRANGE"];

    #[test]
    fn every_command_of_the_functions_is_checked_and_no_other() {
        let text = Library::Server.text();
        let calls = text.split("call('").skip(1);
        let called = calls.filter_map(|it| it.split('\'').next());
        let mut needed: BTreeSet<&str> = called.chain(BY_NODES).collect();
        assert!(needed.remove("TIME") && needed.remove("PUBLISH"));
        let checked: BTreeSet<&str> = ON_KEYS.iter().map(|it| it.0).collect();
        assert_eq!(checked, needed);
    }

    #[test]
    fn the_production_configuration_says_what_a_user_needs() {
        let text = include_str!("../../../../deploy/lockport.toml");
        let lines = text.lines().filter_map(|it| it.strip_prefix('#'));
        let said: String = lines.flat_map(|it| [it.trim(), " "]).collect();
        assert!(said.contains(&rules("NAME")), "{}", rules("NAME"));
    }
}
