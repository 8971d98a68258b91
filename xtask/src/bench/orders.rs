//! The orders that the shop is asked for, and the script that asks.

use crate::process::root;
use crate::steps::{Failure, Outcome};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

/// How many orders the load is spread over: enough that two requests rarely
/// want the same one.
const ORDERS: usize = 2_000;

/// What is done with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `GET /orders/{id}`.
    Read,
    /// `PATCH /orders/{id}`: two locks, a joined call and a commit of two
    /// guarded values.
    Update,
}

/// Creates the orders and writes the script that asks for them.
pub(super) fn script(address: &str, order: Order) -> Outcome<PathBuf> {
    let mut connection = TcpStream::connect(address)
        .map_err(|error| Failure::new(format!("connecting to {address}: {error}")))?;
    let mut script = String::from("local ids = {\n");
    for _ in 0..ORDERS {
        let id = create_order(&mut connection, address)?;
        // Writing to a string cannot fail.
        let _ = writeln!(script, "  \"{id}\",");
    }
    script.push_str("}\n");
    script.push_str(match order {
        Order::Update => UPDATE,
        Order::Read => READ,
    });
    let path = root().join("target/bench/orders.lua");
    std::fs::write(&path, script)
        .map_err(|error| Failure::new(format!("writing {}: {error}", path.display())))?;
    Ok(path)
}

const READ: &str = r#"
local at = 0
request = function()
  at = at % #ids + 1
  return wrk.format("GET", "/orders/" .. ids[at])
end
"#;

const UPDATE: &str = r#"
local at = 0
local headers = { ["Content-Type"] = "application/json" }
request = function()
  at = at % #ids + 1
  return wrk.format("PATCH", "/orders/" .. ids[at], headers,
    '{"update_time":"2999-01-01T00:00:00Z","quantity":' .. at % 9 + 1 .. '}')
end
"#;

/// Creates one order and answers its id.
fn create_order(connection: &mut TcpStream, host: &str) -> Outcome<String> {
    let body = r#"{"user_id":"6f1d3b9e-0000-4000-8000-000000000001","item_id":"6f1d3b9e-0000-4000-8000-000000000002","quantity":1,"value":2.5}"#;
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let failed = |what: String| Failure::new(format!("creating an order: {what}"));
    connection
        .write_all(request.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = connection
            .read(&mut chunk)
            .map_err(|error| failed(error.to_string()))?;
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        // The id is the last thing of a short answer: `{"id":"..."}`.
        if let Some((_, rest)) = text.split_once("{\"id\":\"")
            && let Some((id, _)) = rest.split_once("\"}")
        {
            return Ok(id.to_owned());
        }
        if read == 0 {
            return Err(failed(text.into_owned()));
        }
    }
}
