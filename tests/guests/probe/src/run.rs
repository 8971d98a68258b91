//! One run: the steps, in order, and what they have made so far.

use crate::http::{self, Answer, Body, Extra};
use crate::lockport::host::locks::Guard;
use crate::steps;
use crate::wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

/// What the steps of a request share.
pub(crate) struct Run {
    pub(crate) request: IncomingRequest,
    /// Taken when the response is set.
    pub(crate) out: Option<ResponseOutparam>,
    /// The body, once the head was sent.
    pub(crate) body: Option<Body>,
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    /// The guards that were acquired, the latest last.
    pub(crate) guards: Vec<Guard>,
    /// What is said about the next call.
    pub(crate) extra: Extra,
    /// What the latest call was answered.
    pub(crate) answer: Option<Answer>,
    /// The lines of the answer.
    lines: String,
}

/// What is behind the name of a step.
pub(crate) type Step = fn(&mut Run, &mut Words<'_>) -> Outcome;

/// A step gives its line of the answer, or ends the run.
pub(crate) type Outcome = Result<String, Stop>;

/// Why a run ends before its last step.
pub(crate) enum Stop {
    /// The step failed: the answer has this status, and ends with this line.
    Failed(u16, String),
    /// The handler returns as things are.
    Return,
}

/// The words of a step behind its name.
pub(crate) struct Words<'a>(&'a str);

// === impl Run ===

impl Run {
    pub(crate) fn new(request: IncomingRequest, out: ResponseOutparam) -> Self {
        Self {
            request,
            out: Some(out),
            body: None,
            status: 200,
            headers: Fields::new(),
            guards: Vec::new(),
            extra: Extra::default(),
            answer: None,
            lines: String::new(),
        }
    }

    /// Runs every step and answers.
    pub(crate) fn script(mut self, script: &[String]) {
        for step in script {
            match self.step(step) {
                Ok(()) => {}
                Err(Stop::Return) => return,
                Err(Stop::Failed(status, line)) => {
                    self.status = status;
                    self.line(&line);
                    break;
                }
            }
        }
        self.finish();
    }

    /// Answers that there is nothing to run.
    pub(crate) fn refuse(mut self, reason: &str) {
        self.status = 400;
        self.line(reason);
        self.finish();
    }

    /// Sends the head. What was reported so far, and each line from now on, is
    /// written to the body at once.
    pub(crate) fn head(&mut self) -> Result<(), Stop> {
        let out = self
            .out
            .take()
            .ok_or_else(|| Stop::usage("the head was sent"))?;
        let headers = std::mem::replace(&mut self.headers, Fields::new());
        let response = OutgoingResponse::new(headers);
        response
            .set_status_code(self.status)
            .map_err(|()| Stop::usage("no such status"))?;
        let body = response.body().map_err(|()| Stop::usage("no body"))?;
        ResponseOutparam::set(out, Ok(response));
        let body = http::open(body).ok_or_else(|| Stop::usage("no stream"))?;
        // The client may be gone, or the host may have refused the commit; the
        // steps that follow are to run all the same.
        let _ = http::write(&body.stream, self.lines.as_bytes());
        self.body = Some(body);
        Ok(())
    }

    /// Forgets what was reported so far.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    fn step(&mut self, step: &str) -> Result<(), Stop> {
        let mut words = Words(step);
        let mut name = words.text("step")?;
        let tried = name == "try";
        if tried {
            name = words.text("step")?;
        }
        let step = steps::find(name)
            .ok_or_else(|| Stop::Failed(400, format!("{name}: error no such step")))?;
        match step(self, &mut words) {
            Ok(line) => self.line(&format!("{name}: {line}")),
            Err(Stop::Failed(_, line)) if tried => self.line(&format!("{name}: error {line}")),
            Err(Stop::Failed(status, line)) => {
                return Err(Stop::Failed(status, format!("{name}: error {line}")));
            }
            Err(Stop::Return) => return Err(Stop::Return),
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        match &self.body {
            Some(body) => {
                let _ = http::write(&body.stream, format!("{line}\n").as_bytes());
            }
            None => {
                self.lines.push_str(line);
                self.lines.push('\n');
            }
        }
    }

    fn finish(mut self) {
        if self.out.is_some() && self.head().is_err() {
            return;
        }
        if let Some(body) = self.body.take() {
            http::close(body);
        }
    }
}

// === impl Stop ===

impl Stop {
    /// The step cannot be what its sender meant.
    pub(crate) fn usage(line: &str) -> Self {
        Self::Failed(400, line.to_owned())
    }
}

// === impl Words ===

impl<'a> Words<'a> {
    /// The next word, if there is one.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        if text.is_empty() {
            return None;
        }
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        self.0 = rest;
        Some(word)
    }

    /// The next word, which must be there.
    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str, Stop> {
        self.next()
            .ok_or_else(|| Stop::usage(&format!("{what} is missing")))
    }

    /// The next word, as a number.
    pub(crate) fn number(&mut self, what: &str) -> Result<u64, Stop> {
        self.text(what)?
            .parse()
            .map_err(|_| Stop::usage(&format!("{what} is no number")))
    }

    /// All that is left, as it was sent.
    pub(crate) fn rest(&mut self) -> &'a str {
        std::mem::take(&mut self.0).trim()
    }
}
