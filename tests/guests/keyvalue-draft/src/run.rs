//! One run: the steps that both drafts of `wasi:keyvalue` have, in order.
//!
//! Each step adds a line to the answer: its name, and what came of it. One that
//! fails ends the run with 422, unless `try` stands before it.

use crate::http::{self, Body};
use crate::store::{self, Bucket, Error};
use crate::values;
use crate::wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

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

/// A key and its value.
pub(crate) type Pair = (String, Vec<u8>);

/// What is answered under each name of an interface.
pub(crate) type Named<T> = Vec<(&'static str, Result<T, String>)>;

/// The words of a step behind its name.
pub(crate) struct Words<'a>(pub(crate) std::str::SplitWhitespace<'a>);

/// The status of a run in which a step failed.
const FAILED: u16 = 422;

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
                let outcome = values::step(name, words).or_else(|| others(name, words));
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

/// The steps that are on no bucket, or on many.
fn others(name: &str, words: &mut Words<'_>) -> Option<Outcome> {
    let step = match name {
        "buckets" => buckets,
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
    let answer = http::call(method, url, b"", &http::Extra::default())?;
    let body = text(&answer.body);
    Ok(format!("{} {}", answer.status, body.trim_end()))
}

pub(crate) fn shown(value: Option<Vec<u8>>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| text(&value))
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

    pub(crate) fn all(&mut self) -> Vec<String> {
        self.0.by_ref().map(str::to_owned).collect()
    }
}
