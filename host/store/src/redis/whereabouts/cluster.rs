//! The nodes of a cluster know which of them has a slot. All keys of a space are
//! in one slot, so one of the masters has all of the space.

use super::{Lost, Refusal, Whereabouts, ask, note};
use crate::redis::space::tag;
use crate::redis::url::at;
use redis::{ConnectionAddr, ConnectionInfo, Value, cmd};

/// How many slots there are.
const SLOTS: u16 = 16384;

/// The polynomial of the check sum that chooses a slot.
const POLYNOMIAL: u16 = 0x1021;

impl Whereabouts {
    /// The master that has the space's slot. Each `attempt` begins with another
    /// node, because one that was cut off does not know.
    pub(super) async fn owner(
        &self,
        seeds: &[ConnectionInfo],
        attempt: u64,
    ) -> Result<ConnectionInfo, Refusal> {
        let mut nodes = seeds.to_vec();
        for node in self.nodes.lock().expect("nothing panics meanwhile").iter() {
            if !nodes.iter().any(|it| it.addr() == node.addr()) {
                nodes.push(node.clone());
            }
        }
        let first = attempt as usize % nodes.len();
        nodes.rotate_left(first);
        let (mut is_uncovered, mut last) = (false, None);
        for node in nodes {
            let asked = ask(&self.tls, node.clone(), cmd("CLUSTER").arg("SLOTS")).await;
            let answer = match asked {
                Ok(answer) => answer,
                Err(refusal) => {
                    note(&mut last, refusal)?;
                    continue;
                }
            };
            let masters = masters(answer, &node);
            let owner = masters.iter().find(|it| it.has(self.slot));
            match owner.map(|it| it.server.clone()) {
                Some(owner) => {
                    self.heard_of(masters);
                    return Ok(owner);
                }
                None => is_uncovered = true,
            }
        }
        match is_uncovered {
            true => Err(Lost::Slot(self.slot).into()),
            false => Err(Lost::Cluster(last).into()),
        }
    }

    fn heard_of(&self, masters: Vec<Master>) {
        let mut nodes = self.nodes.lock().expect("nothing panics meanwhile");
        *nodes = masters.into_iter().map(|it| it.server).collect();
    }
}

/// A master, and some slots that it has.
struct Master {
    slots: (u16, u16),
    server: ConnectionInfo,
}

impl Master {
    fn has(&self, slot: u16) -> bool {
        (self.slots.0..=self.slots.1).contains(&slot)
    }
}

/// The slot of a space: that of what stands in braces in the names of its keys.
pub(super) fn slot_of(space: &str) -> u16 {
    check_sum(tag(space).as_bytes()) % SLOTS
}

/// Reads what a node says of the slots. It does not say where it is itself if it
/// does not know: there where it was asked.
fn masters(answer: Value, asked: &ConnectionInfo) -> Vec<Master> {
    let read = |entry: Value| {
        let mut entry = list(entry)?.into_iter();
        let slots = (number(entry.next()?)?, number(entry.next()?)?);
        let mut master = list(entry.next()?)?.into_iter();
        let host = redis::from_redis_value::<Option<String>>(master.next()?).ok()?;
        let host = match (host, asked.addr()) {
            (Some(host), _) if !host.is_empty() => host,
            (_, ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
            _ => return None,
        };
        let server = at(asked.clone(), host, number(master.next()?)?);
        Some(Master { slots, server })
    };
    let entries = list(answer).unwrap_or_default();
    entries.into_iter().filter_map(read).collect()
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn number(value: Value) -> Option<u16> {
    redis::from_redis_value(value).ok()
}

/// CRC-16 as XMODEM has it.
fn check_sum(bytes: &[u8]) -> u16 {
    let byte = |sum: u16, byte: &u8| {
        let bit = |sum: u16, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => (sum << 1) ^ POLYNOMIAL,
        };
        (0..8).fold(sum ^ u16::from(*byte) << 8, bit)
    };
    bytes.iter().fold(0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    #[test]
    fn a_slot_is_chosen_as_the_servers_do() {
        assert_eq!(check_sum(b"123456789"), 0x31C3);
        // As `CLUSTER KEYSLOT {lp:default}:m` answers.
        assert_eq!(slot_of("default"), 1604);
    }

    #[test]
    fn a_node_that_does_not_know_its_address_is_where_it_was_asked() {
        let asked = "redis://there:7000".into_connection_info().unwrap();
        let text = |it: &str| Value::BulkString(it.into());
        let entry = |from, to, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("id")]);
            Value::Array(vec![Value::Int(from), Value::Int(to), master])
        };
        let answer = Value::Array(vec![
            entry(0, 99, Value::Nil, 7000),
            entry(100, 16383, text("elsewhere"), 7001),
        ]);
        let masters = masters(answer, &asked);
        let owner = |slot| {
            let owner = masters.iter().find(|it| it.has(slot)).unwrap();
            owner.server.addr().to_string()
        };
        assert_eq!(owner(0), "there:7000");
        assert_eq!(owner(99), "there:7000");
        assert_eq!(owner(100), "elsewhere:7001");
    }
}
