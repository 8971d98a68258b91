//! Random transactions against a model: a stack of maps.

use super::*;
use crate::contract::{open, query};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Delete(usize),
    Get(usize),
    List {
        prefix: usize,
        after: Option<usize>,
        is_descending: bool,
        limit: usize,
    },
    Nest,
    Keep,
    RollBack,
}

const KEYS: [&str; 9] = ["a", "a/1", "a/2", "a/3", "a/4", "a/5", "a0", "b", "b/1"];
const PREFIXES: [&str; 4] = ["", "a/", "b", "c"];
const DEPTH: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let list = (
        0..PREFIXES.len(),
        prop::option::of(key()),
        any::<bool>(),
        1..6usize,
    );
    prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Delete),
        3 => key().prop_map(Step::Get),
        6 => list.prop_map(|(prefix, after, is_descending, limit)| {
            Step::List { prefix, after, is_descending, limit }
        }),
        2 => Just(Step::Nest),
        1 => Just(Step::Keep),
        1 => Just(Step::RollBack),
    ]
}

type Model = BTreeMap<&'static str, String>;

/// What a listing answers, by the definition of it.
fn model_list(model: &Model, query: &Query) -> (Vec<(String, String)>, bool) {
    let is_behind = |key: &str| match (&query.after, query.order) {
        (None, _) => true,
        (Some(after), Order::Ascending) => key > after.as_str(),
        (Some(after), Order::Descending) => key < after.as_str(),
    };
    let matching = model
        .iter()
        .filter(|it| it.0.starts_with(&query.prefix) && is_behind(it.0));
    let mut all: Vec<_> = matching
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    if query.order == Order::Descending {
        all.reverse();
    }
    let has_more = all.len() > query.limit;
    all.truncate(query.limit);
    (all, has_more)
}

fn listed(page: &Page) -> (Vec<(String, String)>, bool) {
    let text = |it: &Bytes| String::from_utf8(it.to_vec()).unwrap();
    let entries = page
        .entries
        .iter()
        .map(|(key, it)| (key.as_str().to_owned(), text(&it.value)));
    (entries.collect(), page.more)
}

async fn run(before: &[usize], steps: &[Step]) {
    let stage = Stage::new();
    let mut committed = Model::new();
    for at in before {
        stage.world.write(&open(), &[(KEYS[*at], "old")]).await;
        committed.insert(KEYS[*at], "old".to_owned());
    }
    let mut models = vec![committed];
    let mut nested: Vec<Nested> = Vec::new();
    for step in steps {
        let scope = nested.last().map_or(&stage.scope, Nested::scope).clone();
        let model = models.last_mut().unwrap();
        match step {
            Step::Put(at, byte) => {
                put(&scope, &open(), KEYS[*at], &byte.to_string()).await;
                model.insert(KEYS[*at], byte.to_string());
            }
            Step::Delete(at) => {
                scope.delete(&open(), key(KEYS[*at])).await.unwrap();
                model.remove(KEYS[*at]);
            }
            Step::Get(at) => {
                let found = get(&scope, &open(), KEYS[*at]).await;
                assert_eq!(found.as_ref(), model.get(KEYS[*at]));
            }
            Step::List {
                prefix,
                after,
                is_descending,
                limit,
            } => {
                let order = match is_descending {
                    true => Order::Descending,
                    false => Order::Ascending,
                };
                let query = query(PREFIXES[*prefix], after.map(|it| KEYS[it]), order, *limit);
                let page = scope.list(&open(), query.clone()).await.unwrap();
                assert_eq!(listed(&page), model_list(model, &query), "{query:?}");
            }
            Step::Nest if nested.len() < DEPTH => {
                let inner = model.clone();
                models.push(inner);
                nested.push(scope.nest().await.unwrap());
            }
            Step::Keep if !nested.is_empty() => {
                nested.pop().unwrap().keep();
                let kept = models.pop().unwrap();
                *models.last_mut().unwrap() = kept;
            }
            Step::RollBack if !nested.is_empty() => {
                nested.pop();
                models.pop();
            }
            Step::Nest | Step::Keep | Step::RollBack => {}
        }
    }
    // Innermost first, as callees end.
    while nested.pop().is_some() {
        models.pop();
    }
    stage.transaction.commit().await.unwrap();
    let page = stage
        .world
        .list(&open(), query("", None, Order::Ascending, 100))
        .await;
    let expected = models[0]
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    assert_eq!(listed(&page).0, expected.collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn a_transaction_reads_and_writes_like_the_model(
        before in prop::collection::vec(0..KEYS.len(), 0..12),
        steps in prop::collection::vec(step(), 1..50),
    ) {
        block_on(run(&before, &steps));
    }
}

#[test]
fn a_page_of_staged_values_has_so_many_bytes() {
    block_on(async {
        let stage = Stage::with(Limits {
            staged_bytes: usize::MAX,
            ..Limits::default()
        });
        for at in 0..10 {
            let value = Bytes::from(vec![0; 1024 * 1024]);
            stage
                .scope
                .put(&open(), key(&at.to_string()), value)
                .await
                .unwrap();
        }
        let all = query("", None, Order::Ascending, 100);
        let page = stage.scope.list(&open(), all).await.unwrap();
        assert_eq!((page.entries.len(), page.more), (7, true));
    });
}

#[test]
fn removals_beyond_a_page_do_not_shorten_it() {
    block_on(async {
        let stage = Stage::new();
        let keys: Vec<_> = (0..20).map(|it| format!("{it:02}")).collect();
        let values: Vec<_> = keys.iter().map(|it| (it.as_str(), "x")).collect();
        stage.world.write(&open(), &values).await;
        for at in keys.iter().take(15) {
            stage.scope.delete(&open(), key(at)).await.unwrap();
        }
        for (limit, expected, more) in [(4, 4, true), (5, 5, false), (6, 5, false)] {
            let first = query("", None, Order::Ascending, limit);
            let page = stage.scope.list(&open(), first).await.unwrap();
            assert_eq!((page.entries.len(), page.more), (expected, more), "{limit}");
        }
    });
}
