//! Steps about state.

use crate::lockport::host::state::{self, Error, Order, Query};
use crate::run::{Outcome, Run, Step, Stop, Words};

pub(crate) const STEPS: &[(&str, Step)] = &[
    ("get", get),
    ("put", put),
    ("put-size", put_size),
    ("delete", delete),
    ("add", add),
    ("list", list),
    ("list-back", list_back),
    ("keep", keep),
];

/// `get COLLECTION KEY`: `none`, or the version and the value.
fn get(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    match state::get(words.text("collection")?, words.text("key")?).map_err(failed)? {
        None => Ok("none".to_owned()),
        Some(entry) => Ok(format!(
            "version {} {}",
            entry.version,
            String::from_utf8_lossy(&entry.value)
        )),
    }
}

/// `put COLLECTION KEY VALUE`: the value is the rest of the line.
fn put(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (collection, key) = (words.text("collection")?, words.text("key")?);
    state::put(collection, key, words.rest().as_bytes()).map_err(failed)?;
    Ok("ok".to_owned())
}

/// `put-size COLLECTION KEY BYTES`: a value of so many bytes.
fn put_size(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (collection, key) = (words.text("collection")?, words.text("key")?);
    let value = vec![b'x'; usize::try_from(words.number("bytes")?).unwrap_or(0)];
    state::put(collection, key, &value).map_err(failed)?;
    Ok("ok".to_owned())
}

/// `delete COLLECTION KEY`.
fn delete(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    state::delete(words.text("collection")?, words.text("key")?).map_err(failed)?;
    Ok("ok".to_owned())
}

/// `add COLLECTION KEY NUMBER`: reads a number, 0 if absent, and writes the
/// sum; the sum.
fn add(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    let (collection, key) = (words.text("collection")?, words.text("key")?);
    let number = words.number("number")?;
    let old: u64 = match state::get(collection, key).map_err(failed)? {
        None => 0,
        Some(entry) => std::str::from_utf8(&entry.value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Stop::usage("the value is no number"))?,
    };
    let sum = old.wrapping_add(number);
    state::put(collection, key, sum.to_string().as_bytes()).map_err(failed)?;
    Ok(sum.to_string())
}

/// `list COLLECTION LIMIT [prefix=TEXT] [after=KEY]`: `KEY=VALUE` pairs, and
/// `more` if there is more.
fn list(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    page(words, Order::Ascending)
}

/// `list-back ...`: the same, from the last key to the first.
fn list_back(_run: &mut Run, words: &mut Words<'_>) -> Outcome {
    page(words, Order::Descending)
}

/// `keep`: commits although the answer is an error.
fn keep(_run: &mut Run, _words: &mut Words<'_>) -> Outcome {
    state::keep();
    Ok("ok".to_owned())
}

// === helpers ===

fn page(words: &mut Words<'_>, order: Order) -> Outcome {
    let collection = words.text("collection")?;
    let limit = u32::try_from(words.number("limit")?).unwrap_or(u32::MAX);
    let mut query = Query {
        prefix: String::new(),
        after: None,
        order,
        limit,
    };
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some(("prefix", text)) => query.prefix = text.to_owned(),
            Some(("after", key)) => query.after = Some(key.to_owned()),
            _ => return Err(Stop::usage("list takes prefix= and after=")),
        }
    }
    let page = state::list(collection, &query).map_err(failed)?;
    let entries: Vec<String> = page
        .entries
        .iter()
        .map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)))
        .collect();
    Ok(format!(
        "[{}]{}",
        entries.join(","),
        if page.more { " more" } else { "" }
    ))
}

/// The case as the WIT names it, and its text.
fn failed(error: Error) -> Stop {
    let text = match error {
        Error::AccessDenied => "access-denied".to_owned(),
        Error::InvalidArgument(text) => format!("invalid-argument {text}"),
        Error::Conflict => "conflict".to_owned(),
        Error::Quota(text) => format!("quota {text}"),
        Error::Recovering => "recovering".to_owned(),
        Error::Unavailable(text) => format!("unavailable {text}"),
        Error::Closed => "closed".to_owned(),
    };
    Stop::Failed(422, text)
}
