//! Steps that answer, or fail to: the response, and every way to end badly.

use crate::run::{Outcome, Run, Step, Stop, Words};
use crate::wasi::clocks::monotonic_clock;
use crate::wasi::http::types::{Fields, OutgoingResponse, ResponseOutparam};
use crate::{http, lockport::host::request};

pub(crate) const STEPS: &[(&str, Step)] = &[
    ("status", status),
    ("header", header),
    ("headers", headers),
    ("head", head),
    ("write", write),
    ("abandon", abandon),
    ("return", leave),
    ("twice", twice),
    ("trap", trap),
    ("panic", panic),
    ("exit", exit),
    ("sleep", sleep),
    ("about", about),
    ("incoming", incoming),
];

/// `status CODE`: what the answer will have; 200 otherwise.
fn status(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    run.status = u16::try_from(words.number("status")?).map_err(|_| Stop::usage("no status"))?;
    Ok("ok".to_owned())
}

/// `header NAME VALUE`: adds a header to the answer.
fn header(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (name, value) = (words.text("name")?, words.rest());
    match run.headers.append(name, value.as_bytes()) {
        Ok(()) => Ok("ok".to_owned()),
        Err(error) => Err(Stop::Failed(422, error.to_string())),
    }
}

/// `headers COUNT SIZE`: adds so many headers with values of so many bytes.
fn headers(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (count, size) = (words.number("count")?, words.number("size")?);
    let value = vec![b'x'; usize::try_from(size).unwrap_or(0)];
    for index in 0..count {
        if let Err(error) = run.headers.append(&format!("x-probe-{index}"), &value) {
            return Err(Stop::Failed(422, format!("after {index}: {error}")));
        }
    }
    Ok(format!("{count}"))
}

/// `head`: sets the response now; later lines are written to its body.
fn head(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    run.head()?;
    Ok("sent".to_owned())
}

/// `write COUNT`: writes so many bytes to the body, after `head`.
fn write(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let mut left = usize::try_from(words.number("count")?).unwrap_or(usize::MAX);
    let body = run
        .body
        .as_ref()
        .ok_or_else(|| Stop::usage("write comes after head"))?;
    let chunk = [b'x'; 4096];
    while left > 0 {
        let now = left.min(chunk.len());
        http::write(&body.stream, &chunk[..now])
            .map_err(|_| Stop::Failed(500, "the stream is closed".to_owned()))?;
        left -= now;
    }
    Ok("ok".to_owned())
}

/// `abandon`: returns without finishing the body, after `head`.
fn abandon(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    run.body
        .take()
        .ok_or_else(|| Stop::usage("abandon comes after head"))?;
    Err(Stop::Return)
}

/// `return`: returns as things are; before `head` that is no answer at all.
fn leave(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    Err(Stop::Return)
}

/// `twice`: sets a second response through the handle of the first, which is
/// gone. Traps.
fn twice(run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let out = run
        .out
        .take()
        .ok_or_else(|| Stop::usage("twice comes before head"))?;
    let handle = out.handle();
    ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
    // SAFETY: there is none: the host must notice that the handle is not ours.
    let again = unsafe { ResponseOutparam::from_handle(handle) };
    ResponseOutparam::set(again, Ok(OutgoingResponse::new(Fields::new())));
    Ok("the host took two responses".to_owned())
}

/// `trap`: executes `unreachable`.
fn trap(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}

/// `panic TEXT`: panics with a message.
fn panic(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    panic!("{}", words.rest());
}

/// `exit CODE`: ends the program, as if it were one.
#[expect(
    clippy::disallowed_methods,
    reason = "what the host makes of it is the point"
)]
fn exit(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    std::process::exit(i32::try_from(words.number("code")?).unwrap_or(1));
}

/// `sleep MS`: waits for the clock, without using it up.
fn sleep(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let milliseconds = words.number("milliseconds")?;
    monotonic_clock::subscribe_duration(milliseconds.saturating_mul(1_000_000)).block();
    Ok("ok".to_owned())
}

/// `about`: route, parameters, identity, principal, deadline in milliseconds.
fn about(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let params: Vec<String> = request::params()
        .into_iter()
        .map(|param| format!("{}={}", param.name, param.value))
        .collect();
    Ok(format!(
        "route={} params=[{}] id={} principal={} deadline_ms={}",
        request::route(),
        params.join(","),
        request::id(),
        request::principal().unwrap_or_default(),
        request::deadline() / 1_000_000,
    ))
}

/// `incoming NAME`: the values of a header of the request.
fn incoming(run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let values = run.request.headers().get(words.text("name")?);
    let values: Vec<_> = values
        .iter()
        .map(|value| String::from_utf8_lossy(value))
        .collect();
    Ok(format!("[{}]", values.join(",")))
}
