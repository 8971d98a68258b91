//! The probe in the tests' words: requests that are lists of steps
//! (`tests/guests/README.md` has them all), and locks that are held for as long
//! as a test likes.

use super::http::{Answer, Connection, Request, request};
use super::node::Node;
use super::{BOUND, eventually};
use serde_json::Value;

/// How long a request that holds a lock sleeps at most, in milliseconds: longer
/// than any test waits, so that only the end of its connection ends it.
const HOLD: u128 = 2 * BOUND.as_millis();

/// A lock that another request holds. Dropping it cuts that request's
/// connection, which ends the request and frees the lock.
pub(crate) struct HeldLock {
    name: String,
    _connection: Connection,
}

/// A request to `component`, which is the probe under one of its names, to run
/// these steps.
pub(crate) fn steps<S: AsRef<str>>(component: &str, steps: impl IntoIterator<Item = S>) -> Request {
    let steps: Vec<String> = steps
        .into_iter()
        .map(|step| step.as_ref().to_owned())
        .collect();
    request("POST", &format!("/{component}")).body(steps.join("\n"))
}

/// The name under which the probe may acquire this lock.
fn holder_of(lock: &str) -> &'static str {
    if lock.starts_with("item/") {
        "probe"
    } else {
        "holder"
    }
}

// === impl HeldLock ===

impl HeldLock {
    /// Has another request acquire `name`; returns when it holds it.
    #[track_caller]
    pub(crate) fn hold(node: &Node, name: &str) -> Self {
        let mut connection = node.connect();
        let hold = Self::request(name, HOLD);
        connection.send(&hold.to_bytes()).expect("the node reads");
        node.wait_until_held(name);
        Self {
            name: name.to_owned(),
            _connection: connection,
        }
    }

    /// A request that holds `name` for so many milliseconds and answers 200.
    pub(crate) fn request(name: &str, milliseconds: u128) -> Request {
        let acquire = format!("acquire {name} wait=5000");
        steps(holder_of(name), [acquire, format!("sleep {milliseconds}")])
    }

    /// Frees the lock; returns when it is free.
    #[track_caller]
    pub(crate) fn give_back(self, node: &Node) {
        let name = self.name.clone();
        drop(self);
        node.wait_until_free(&name);
    }
}

// === impl Node ===

impl Node {
    /// Runs steps in the probe under one of its names.
    #[track_caller]
    pub(crate) fn run<S: AsRef<str>>(
        &self,
        component: &str,
        list: impl IntoIterator<Item = S>,
    ) -> Answer {
        self.client().send(&steps(component, list))
    }

    /// Tries to acquire a lock, which is given back at once; its fencing token,
    /// or none if somebody holds it.
    #[track_caller]
    pub(crate) fn try_lock(&self, name: &str) -> Option<u64> {
        let answer = self.run(holder_of(name), [format!("acquire {name}")]);
        match answer.status {
            200 => Some(answer.number("acquire")),
            423 => {
                assert_eq!(answer.step("acquire"), "error held");
                None
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }

    /// Waits until somebody holds the lock.
    #[track_caller]
    pub(crate) fn wait_until_held(&self, name: &str) {
        eventually(&format!("`{name}` is held"), || {
            self.try_lock(name).is_none().then_some(())
        });
    }

    /// Waits until nobody holds the lock; the token of the look.
    #[track_caller]
    pub(crate) fn wait_until_free(&self, name: &str) -> u64 {
        eventually(&format!("`{name}` is free"), || self.try_lock(name))
    }

    /// The value of a key in a collection of the probe's.
    #[track_caller]
    pub(crate) fn value(&self, collection: &str, key: &str) -> Option<String> {
        let answer = self
            .run("probe", [format!("get {collection} {key}")])
            .expect(200);
        let outcome = answer.step("get");
        let (_version, value) = outcome.strip_prefix("version ")?.split_once(' ')?;
        Some(value.to_owned())
    }

    /// Has a component that holds the invoice's lock send it a request.
    #[track_caller]
    pub(crate) fn as_invoice_holder(&self, method: &str, path: &str, body: Value) -> Answer {
        let lock = path.replacen("/invoices/", "invoice/", 1);
        self.as_holder_of(&lock, method, path, body)
    }

    /// Has a component that holds `lock` send `invoice` a request.
    #[track_caller]
    pub(crate) fn as_holder_of(&self, lock: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let steps = [
            format!("acquire {lock}"),
            format!("call {method} invoice {path} {body}"),
            "forward".to_owned(),
        ];
        self.run("holder", steps)
    }
}

// === impl Answer ===

impl Answer {
    /// What came of the first step of this name.
    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> String {
        match self.steps(name).into_iter().next() {
            Some(outcome) => outcome,
            None => panic!("no step `{name}` in: {} {}", self.status, self.text()),
        }
    }

    /// What came of each step of this name.
    pub(crate) fn steps(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    }

    /// The last number in what came of the first step of this name.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let outcome = self.step(name);
        let last = outcome.split_whitespace().next_back().unwrap_or_default();
        match last.parse() {
            Ok(number) => number,
            Err(_) => panic!("`{outcome}` ends in no number"),
        }
    }

    /// The number behind `label` in what came of the first step of this name.
    #[track_caller]
    pub(crate) fn number_after(&self, name: &str, label: &str) -> u64 {
        let outcome = self.step(name);
        let digits = outcome.split(label).nth(1).unwrap_or_default();
        let digits = digits.split(|c: char| !c.is_ascii_digit()).next();
        match digits.unwrap_or_default().parse() {
            Ok(number) => number,
            Err(_) => panic!("no number behind `{label}` in `{outcome}`"),
        }
    }
}
