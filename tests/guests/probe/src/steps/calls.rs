//! Steps that call other components, or the world.

use crate::http;
use crate::run::{Outcome, Run, Step, Stop, Words};

pub(crate) const STEPS: &[(&str, Step)] = &[
    ("call", call),
    ("fetch", fetch),
    ("forward", forward),
    ("log", log),
    ("with", with),
    ("within", within),
];

/// `call METHOD COMPONENT PATH [BODY]`: the status and the body of the answer.
/// An answer of 400 or more is no failure of the step.
fn call(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (method, component) = (words.text("method")?, words.text("component")?);
    let url = format!("http://{component}.internal{}", words.text("path")?);
    send(run, method, &url, words.rest())
}

/// `fetch METHOD URL [BODY]`: the same, to anywhere.
fn fetch(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (method, url) = (words.text("method")?, words.text("url")?);
    send(run, method, url, words.rest())
}

/// `with NAME VALUE`: the next call has this header.
fn with(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let name = words.text("name")?.to_owned();
    run.extra.headers.push((name, words.rest().to_owned()));
    Ok("ok".to_owned())
}

/// `within CONNECT FIRST BETWEEN`: how many milliseconds the next call may take
/// to connect, to the first byte of its answer, and between bytes.
fn within(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let connect = words.number("connect")?;
    let first_byte = words.number("first byte")?;
    run.extra.timeouts = Some([connect, first_byte, words.number("between bytes")?]);
    Ok("ok".to_owned())
}

/// `forward`: answers just what the latest call was answered, and returns.
fn forward(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let answer = run
        .answer
        .take()
        .ok_or_else(|| Stop::usage("forward comes after call"))?;
    run.status = answer.status;
    run.clear();
    run.head()?;
    if let Some(body) = run.body.take() {
        let _ = http::write(&body.stream, &answer.body);
        http::close(body);
    }
    Err(Stop::Return)
}

/// `log TEXT`: writes a line to standard error.
#[expect(clippy::print_stderr, reason = "standard error is what is tested")]
fn log(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    eprintln!("{}", words.rest());
    Ok("ok".to_owned())
}

fn send(run: &mut Run, method: &str, url: &str, body: &str) -> Outcome {
    let extra = std::mem::take(&mut run.extra);
    let answer =
        http::call(method, url, body.as_bytes(), &extra).map_err(|text| Stop::Failed(502, text))?;
    let text = format!(
        "{} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body).trim_end()
    );
    run.answer = Some(answer);
    Ok(text)
}
