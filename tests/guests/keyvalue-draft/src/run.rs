//! One run: the steps that both drafts of `wasi:keyvalue` have, in order.
//!
//! Each step adds a line to the answer: its name, and what came of it. One that
//! fails ends the run with 422, unless `try` stands before it.

use crate::http::{self, Body};
use crate::store::{self, Bucket, Error};
use crate::wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use crate::{Cursor, Delta, atomics, batch};
use std::cell::RefCell;

/// A request that is being answered.
pub(crate) struct Run {
    /// Taken when the response is set.
    out: Option<ResponseOutparam>,
    /// The body, once the head was sent.
    body: Option<Body>,
    status: u16,
    /// The lines of the answer that were not written yet.
    lines: String,
}

/// A step gives its line of the answer, or why it failed.
pub(crate) type Outcome = Result<String, String>;

/// The words of a step behind its name.
pub(crate) struct Words<'a>(std::str::SplitWhitespace<'a>);

/// The status of a run in which a step failed.
const FAILED: u16 = 422;

thread_local! {
    /// A bucket that is kept from request to request.
    static KEPT: RefCell<Option<Bucket>> = const { RefCell::new(None) };
}

// === impl Run ===

impl Run {
    pub(crate) fn new(out: ResponseOutparam) -> Self {
        Self {
            out: Some(out),
            body: None,
            status: 200,
            lines: String::new(),
        }
    }

    /// Runs every step and answers.
    pub(crate) fn serve(mut self, request: &IncomingRequest) {
        let script = http::script(request).unwrap_or_default();
        for line in script {
            if let Err(line) = self.step(&line) {
                self.status = FAILED;
                self.line(&line);
                break;
            }
        }
        self.head();
        if let Some(body) = self.body.take() {
            http::close(body);
        }
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let mut words = Words(line.split_whitespace());
        let mut name = words.text()?;
        let tried = name == "try";
        if tried {
            name = words.text()?;
        }
        match self.run(name, &mut words) {
            Ok(outcome) => self.line(&format!("{name}: {outcome}")),
            Err(why) if tried => self.line(&format!("{name}: error {why}")),
            Err(why) => return Err(format!("{name}: error {why}")),
        }
        Ok(())
    }

    fn run(&mut self, name: &str, words: &mut Words<'_>) -> Outcome {
        match name {
            "status" => self.status = words.number()?,
            "head" => self.head(),
            _ => {
                let outcome = values(name, words).or_else(|| others(name, words));
                let outcome = outcome.or_else(|| crate::own_step(name, words));
                return outcome.unwrap_or_else(|| Err("no such step".to_owned()));
            }
        }
        ok()
    }

    /// Sends the head. Each line from now on is written at once.
    fn head(&mut self) {
        let Some(out) = self.out.take() else { return };
        let response = OutgoingResponse::new(Fields::new());
        let _ = response.set_status_code(self.status);
        let body = response.body();
        ResponseOutparam::set(out, Ok(response));
        self.body = body.ok().and_then(http::open);
        if let Some(body) = &self.body {
            let _ = http::write(&body.stream, self.lines.as_bytes());
        }
    }

    fn line(&mut self, line: &str) {
        let line = format!("{line}\n");
        match &self.body {
            Some(body) => {
                let _ = http::write(&body.stream, line.as_bytes());
            }
            None => self.lines.push_str(&line),
        }
    }
}

/// The steps on values. The first word of each is the name of a bucket.
fn values(name: &str, words: &mut Words<'_>) -> Option<Outcome> {
    let step = match name {
        "open" => |_: Bucket, _: &mut Words<'_>| ok(),
        "get" => |bucket: Bucket, words: &mut Words<'_>| {
            Ok(shown(bucket.get(words.text()?).map_err(told)?))
        },
        "set" => |bucket: Bucket, words: &mut Words<'_>| {
            let (key, value) = (words.text()?, words.text()?);
            bucket.set(key, value.as_bytes()).map_err(told)?;
            ok()
        },
        // A key of so many bytes, and a value of so many.
        "set-size" => |bucket: Bucket, words: &mut Words<'_>| {
            let (key, value) = (words.number()?, words.number()?);
            let set = bucket.set(&"k".repeat(key), &vec![b'v'; value]);
            set.map_err(told)?;
            ok()
        },
        "delete" => |bucket: Bucket, words: &mut Words<'_>| {
            bucket.delete(words.text()?).map_err(told)?;
            ok()
        },
        "exists" => |bucket: Bucket, words: &mut Words<'_>| {
            Ok(bucket.exists(words.text()?).map_err(told)?.to_string())
        },
        "add" => |bucket: Bucket, words: &mut Words<'_>| {
            let (key, delta) = (words.text()?, words.number::<Delta>()?);
            let sum = atomics::increment(&bucket, key, delta).map_err(told)?;
            Ok(sum.to_string())
        },
        // Sets so many keys, k000000 and so on.
        "fill" => |bucket: Bucket, words: &mut Words<'_>| {
            let keys = words.number::<usize>()?..words.number::<usize>()?;
            let pairs: Vec<_> = keys.map(|it| (format!("k{it:06}"), vec![b'v'])).collect();
            batch::set_many(&bucket, &pairs).map_err(told)?;
            ok()
        },
        // One page of keys, behind a cursor if there is one.
        "keys" => |bucket: Bucket, words: &mut Words<'_>| {
            let cursor = words.0.next().map(str::parse::<Cursor>).transpose();
            Ok(page(&bucket, cursor.map_err(|it| it.to_string())?)?.0)
        },
        // Every page, until there is no cursor.
        "pages" => |bucket: Bucket, _: &mut Words<'_>| {
            let mut pages = Vec::new();
            let mut cursor = None;
            loop {
                let (shown, next) = page(&bucket, cursor)?;
                pages.push(shown);
                if next.is_none() {
                    return Ok(pages.join(", "));
                }
                cursor = next;
            }
        },
        "get-many" => |bucket: Bucket, words: &mut Words<'_>| {
            let found = batch::get_many(&bucket, &words.all()).map_err(told)?;
            let shown = found.iter().map(|pair| match pair {
                Some((key, value)) => format!("{key}={}", text(value)),
                None => "none".to_owned(),
            });
            Ok(format!("[{}]", shown.collect::<Vec<_>>().join(",")))
        },
        "set-many" => |bucket: Bucket, words: &mut Words<'_>| {
            let pairs = words.all().into_iter();
            let pairs = pairs.map(|pair| match pair.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.as_bytes().to_owned()),
                None => (pair, Vec::new()),
            });
            batch::set_many(&bucket, &pairs.collect::<Vec<_>>()).map_err(told)?;
            ok()
        },
        "delete-many" => |bucket: Bucket, words: &mut Words<'_>| {
            batch::delete_many(&bucket, &words.all()).map_err(told)?;
            ok()
        },
        // Keeps the bucket past the request.
        "keep-bucket" => |bucket: Bucket, _: &mut Words<'_>| {
            KEPT.set(Some(bucket));
            ok()
        },
        _ => return None,
    };
    Some((|| step(open(words.text()?)?, words))())
}

/// The steps that are on no bucket, or on one that is there.
fn others(name: &str, words: &mut Words<'_>) -> Option<Outcome> {
    let step = match name {
        "buckets" => buckets,
        "get-kept" => get_kept,
        "config" => config,
        "config-all" => config_all,
        "call" => call,
        _ => return None,
    };
    Some(step(words))
}

/// `buckets NAME COUNT`: has so many buckets at once.
fn buckets(words: &mut Words<'_>) -> Outcome {
    let (name, count) = (words.text()?, words.number::<usize>()?);
    let buckets: Result<Vec<_>, _> = (0..count).map(|_| open(name)).collect();
    Ok(buckets?.len().to_string())
}

/// `get-kept KEY`: from the bucket that was kept.
fn get_kept(words: &mut Words<'_>) -> Outcome {
    KEPT.with_borrow(|kept| match kept {
        Some(bucket) => Ok(shown(bucket.get(words.text()?).map_err(told)?)),
        None => Ok("no bucket".to_owned()),
    })
}

/// `config KEY`: what it is under each name of the interface.
fn config(words: &mut Words<'_>) -> Outcome {
    let key = words.text()?;
    let values = crate::config(key).into_iter().map(|(name, value)| {
        let value = value?.unwrap_or_else(|| "none".to_owned());
        Ok(format!("{name}={value}"))
    });
    Ok(values.collect::<Result<Vec<_>, String>>()?.join(" "))
}

/// `config-all`: what there is under each name of the interface.
fn config_all(_: &mut Words<'_>) -> Outcome {
    let values = crate::config_all().into_iter().map(|(name, values)| {
        let values = values?.into_iter();
        let values: Vec<_> = values.map(|(key, it)| format!("{key}:{it}")).collect();
        Ok(format!("{name}=[{}]", values.join(",")))
    });
    Ok(values.collect::<Result<Vec<_>, String>>()?.join(" "))
}

/// `call METHOD URL`: what is answered.
fn call(words: &mut Words<'_>) -> Outcome {
    let (method, url) = (words.text()?, words.text()?);
    let answer = http::call(method, url, b"")?;
    let body = text(&answer.body);
    Ok(format!("{} {}", answer.status, body.trim_end()))
}

fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| text(&value))
}

/// A page of keys, in words, and the cursor behind it.
fn page(bucket: &Bucket, cursor: Option<Cursor>) -> Result<(String, Option<Cursor>), String> {
    let response = crate::list_keys(bucket, cursor).map_err(told)?;
    let keys = &response.keys;
    let shown = match keys.as_slice() {
        keys @ ([] | [_] | [_, _] | [_, _, _]) => format!("[{}]", keys.join(",")),
        [first, .., last] => format!("{} from {first} to {last}", keys.len()),
    };
    let more = response.cursor.as_ref().map(|it| format!(" more {it}"));
    Ok((shown + &more.unwrap_or_default(), response.cursor))
}

pub(crate) fn open(name: &str) -> Result<Bucket, String> {
    store::open(name).map_err(told)
}

pub(crate) fn ok() -> Outcome {
    Ok("ok".to_owned())
}

/// What the host says of an error.
pub(crate) fn told(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(text) => text,
    }
}

pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

// === impl Words ===

impl<'a> Words<'a> {
    /// The next word, which must be there.
    pub(crate) fn text(&mut self) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| "a word is missing".to_owned())
    }

    /// The next word, as a number.
    pub(crate) fn number<N: std::str::FromStr>(&mut self) -> Result<N, String> {
        self.text()?
            .parse()
            .map_err(|_| "it is no number".to_owned())
    }

    fn all(&mut self) -> Vec<String> {
        self.0.by_ref().map(str::to_owned).collect()
    }
}
