//! Steps that take more than they should: time, stack, memory, handles, logs.

use std::hint::black_box;

use crate::http::{self, Extra};
use crate::run::{Outcome, Run, Step, Stop, Words};
use crate::wasi::clocks::monotonic_clock;
use crate::wasi::http::types::Fields;
use crate::wasi::random::random;

pub(crate) const STEPS: &[(&str, Step)] = &[
    ("spin", spin),
    ("spin-for", spin_for),
    ("spin-calling", spin_calling),
    ("recurse", recurse),
    ("grow", grow),
    ("fill", fill),
    ("handles", handles),
    ("leak", leak),
    ("hoard", hoard),
    ("hoard-outside", hoard_outside),
    ("host-calls", host_calls),
    ("random", random_bytes),
    ("log-lines", log_lines),
    ("log-size", log_size),
];

/// `hoard COUNT METHOD COMPONENT PATH`: makes so many calls and reads none of
/// the answers before the last: how many it got, and why no more.
fn hoard(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    let (method, component) = (words.text("method")?, words.text("component")?);
    let url = format!("http://{component}.internal{}", words.text("path")?);
    Ok(unread(count, method, &url))
}

/// `hoard-outside COUNT URL`: the same of the world outside.
fn hoard_outside(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    Ok(unread(count, "GET", words.text("url")?))
}

fn unread(count: u64, method: &str, url: &str) -> String {
    let mut unread = Vec::new();
    for _ in 0..count {
        match http::send(method, url, b"", &Extra::default()) {
            Ok(answer) => unread.push(answer),
            Err(why) => return format!("{} {why}", unread.len()),
        }
    }
    unread.len().to_string()
}

/// `spin`: never ends, and calls nobody.
fn spin(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let mut turns: u64 = 0;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// `spin-for MS`: uses the processor for so long, then goes on.
fn spin_for(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let nanoseconds = words.number("milliseconds")?.saturating_mul(1_000_000);
    let begun = monotonic_clock::now();
    let mut turns: u64 = 0;
    while monotonic_clock::now().saturating_sub(begun) < nanoseconds {
        for _ in 0..100_000 {
            turns = black_box(turns.wrapping_add(1));
        }
    }
    Ok("ok".to_owned())
}

/// `spin-calling`: never ends, and calls the host all the time.
fn spin_calling(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    loop {
        black_box(monotonic_clock::now());
    }
}

/// `recurse`: calls itself until the stack ends. Traps.
fn recurse(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    #[expect(unconditional_recursion, reason = "the end of the stack is the point")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 32]);
        deeper(depth + 1).wrapping_add(frame[7])
    }
    Ok(deeper(0).to_string())
}

/// `grow`: grows the memory page by page until the host refuses; the pages.
fn grow(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    #[cfg(target_family = "wasm")]
    {
        let mut pages: u64 = 0;
        while core::arch::wasm32::memory_grow(0, 1) != usize::MAX {
            pages += 1;
        }
        Ok(pages.to_string())
    }
    #[cfg(not(target_family = "wasm"))]
    Err(Stop::usage("there is no memory to grow"))
}

/// `fill`: allocates and touches memory until there is none. Traps.
fn fill(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1024 * 1024]));
    }
}

/// `handles COUNT`: has so many handles at once, then drops them.
fn handles(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    let hoard: Vec<Fields> = (0..count).map(|_| Fields::new()).collect();
    Ok(black_box(hoard).len().to_string())
}

/// `leak COUNT`: makes so many handles and never drops them.
fn leak(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    for _ in 0..count {
        std::mem::forget(Fields::new());
    }
    Ok(count.to_string())
}

/// `host-calls COUNT`: calls the host so many times.
fn host_calls(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    for _ in 0..count {
        black_box(monotonic_clock::now());
    }
    Ok(count.to_string())
}

/// `random BYTES`: asks the host for so many bytes at once.
fn random_bytes(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    Ok(random::get_random_bytes(words.number("bytes")?)
        .len()
        .to_string())
}

/// `log-lines COUNT`: writes so many lines to standard error.
#[expect(clippy::print_stderr, reason = "standard error is what is tested")]
fn log_lines(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let count = words.number("count")?;
    for line in 0..count {
        eprintln!("line {line} \u{1b}[31mred");
    }
    Ok(count.to_string())
}

/// `log-size BYTES`: writes one line of so many bytes to standard error.
#[expect(clippy::print_stderr, reason = "standard error is what is tested")]
fn log_size(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let size = usize::try_from(words.number("bytes")?).map_err(|_| Stop::usage("too many"))?;
    eprintln!("{}", "x".repeat(size));
    Ok(size.to_string())
}
