//! The steps on the values of a bucket, whose name is their first word.

use crate::run::{Outcome, Words, ok, open, shown, text, told};
use crate::store::Bucket;
use crate::{Cursor, Delta, atomics, batch};
use std::cell::RefCell;

type Step = fn(Bucket, &mut Words<'_>) -> Outcome;

const STEPS: [(&str, Step); 13] = [
    ("open", |_, _| ok()),
    ("get", get),
    ("set", set),
    ("set-size", set_size),
    ("delete", delete),
    ("exists", exists),
    ("add", add),
    ("fill", fill),
    ("keys", keys),
    ("pages", pages),
    ("get-many", get_many),
    ("set-many", set_many),
    ("delete-many", delete_many),
];

thread_local! {
    /// A bucket that is kept from request to request.
    static KEPT: RefCell<Option<Bucket>> = const { RefCell::new(None) };
}

/// Runs the step of this name, if it is one of these.
pub(crate) fn step(name: &str, words: &mut Words<'_>) -> Option<Outcome> {
    match name {
        "keep-bucket" => return Some(keep_bucket(words)),
        "get-kept" => return Some(get_kept(words)),
        _ => {}
    }
    let (_, step) = STEPS.iter().find(|(known, _)| *known == name)?;
    let bucket = words.text().and_then(open);
    Some(bucket.and_then(|bucket| step(bucket, words)))
}

/// `keep-bucket BUCKET`: past the request.
fn keep_bucket(words: &mut Words<'_>) -> Outcome {
    KEPT.set(Some(open(words.text()?)?));
    ok()
}

/// `get-kept KEY`: from the bucket that was kept.
fn get_kept(words: &mut Words<'_>) -> Outcome {
    KEPT.with_borrow(|kept| match kept {
        Some(bucket) => Ok(shown(bucket.get(words.text()?).map_err(told)?)),
        None => Ok("no bucket".to_owned()),
    })
}

fn get(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    Ok(shown(bucket.get(words.text()?).map_err(told)?))
}

fn set(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let (key, value) = (words.text()?, words.text()?);
    bucket.set(key, value.as_bytes()).map_err(told)?;
    ok()
}

/// `set-size BUCKET KEY VALUE`: a key of so many bytes, and a value of so many.
fn set_size(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let (key, value) = (words.number()?, words.number()?);
    let set = bucket.set(&"k".repeat(key), &vec![b'v'; value]);
    set.map_err(told)?;
    ok()
}

fn delete(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    bucket.delete(words.text()?).map_err(told)?;
    ok()
}

fn exists(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    Ok(bucket.exists(words.text()?).map_err(told)?.to_string())
}

/// `add BUCKET KEY NUMBER`: the sum.
fn add(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let (key, delta) = (words.text()?, words.number::<Delta>()?);
    let sum = atomics::increment(&bucket, key, delta).map_err(told)?;
    Ok(sum.to_string())
}

/// `fill BUCKET FROM TO`: sets the keys `k000000` and so on.
fn fill(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let keys = words.number::<usize>()?..words.number::<usize>()?;
    let pairs: Vec<_> = keys.map(|it| (format!("k{it:06}"), vec![b'v'])).collect();
    batch::set_many(&bucket, &pairs).map_err(told)?;
    ok()
}

/// `keys BUCKET [CURSOR]`: one page.
fn keys(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let cursor = words.0.next().map(str::parse::<Cursor>).transpose();
    Ok(page(&bucket, cursor.map_err(|it| it.to_string())?)?.0)
}

/// `pages BUCKET`: every page, until there is no cursor.
fn pages(bucket: Bucket, _: &mut Words<'_>) -> Outcome {
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
}

fn get_many(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let found = crate::get_many(&bucket, &words.all()).map_err(told)?;
    let found = found.iter().map(|pair| match pair {
        Some((key, value)) => format!("{key}={}", text(value)),
        None => "none".to_owned(),
    });
    Ok(format!("[{}]", found.collect::<Vec<_>>().join(",")))
}

/// `set-many BUCKET KEY=VALUE...`
fn set_many(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    let pairs = words
        .all()
        .into_iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.as_bytes().to_owned()),
            None => (pair, Vec::new()),
        });
    batch::set_many(&bucket, &pairs.collect::<Vec<_>>()).map_err(told)?;
    ok()
}

fn delete_many(bucket: Bucket, words: &mut Words<'_>) -> Outcome {
    batch::delete_many(&bucket, &words.all()).map_err(told)?;
    ok()
}

/// A page of keys, in words, and the cursor behind it.
fn page(bucket: &Bucket, cursor: Option<Cursor>) -> Result<(String, Option<Cursor>), String> {
    let response = crate::list_keys(bucket, cursor).map_err(told)?;
    let shown = match response.keys.as_slice() {
        keys @ ([] | [_] | [_, _] | [_, _, _]) => format!("[{}]", keys.join(",")),
        keys @ [first, .., last] => format!("{} from {first} to {last}", keys.len()),
    };
    let more = response.cursor.as_ref().map(|it| format!(" more {it}"));
    Ok((shown + &more.unwrap_or_default(), response.cursor))
}
