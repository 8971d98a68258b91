//! Who gets a request: the most specific path, then the method. Pure.
//!
//! Paths are compared segment by segment from the left, and in each a literal
//! beats a parameter and a parameter beats the rest:
//!
//! ```text
//!   /orders/new   beats   /orders/{id}   beats   /orders/{path...}
//! ```
//!
//! The method does not count in this. If the most specific path does not serve
//! it, the answer is "not allowed", and never a less specific path: which route
//! a path belongs to does not depend on how it is asked for.

use super::pattern::{Methods, PathPattern, Segment};
use super::target::Target;
use http::Method;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Routes, and what is behind each of them.
#[derive(Debug)]
pub struct Router<T> {
    /// The tree of segments; the first branch is its root.
    branches: Vec<Branch>,
    routes: Vec<Entry<T>>,
}

/// The parameters of a route and their values, in the order of the path.
pub type Params = Vec<(Arc<str>, String)>;

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r, T> {
    /// The route, and its parameters' values.
    Route(&'r T, Params),
    /// The path has routes, but none with this method.
    WrongMethod(Methods),
    /// Nobody serves the path.
    Nobody,
}

/// Two routes that would take the same requests.
#[derive(Debug)]
pub struct Clash<T> {
    /// The path of the route that was there.
    pub path: Arc<str>,
    /// What is behind it.
    pub held_by: T,
    /// The path of the route that came second.
    pub refused_path: Arc<str>,
    /// What is behind that.
    pub refused: T,
    /// The methods that both want.
    pub methods: Methods,
}

#[derive(Debug)]
struct Entry<T> {
    path: PathPattern,
    methods: Methods,
    value: T,
}

#[derive(Debug, Default)]
struct Branch {
    literals: HashMap<Box<str>, usize>,
    parameter: Option<usize>,
    /// Routes that end here, by index. Their methods do not overlap.
    here: Vec<usize>,
    /// Routes that take whatever is left from here. Likewise.
    rest: Vec<usize>,
}

impl<T: Clone> Router<T> {
    /// No routes.
    pub fn new() -> Self {
        Self {
            branches: vec![Branch::default()],
            routes: Vec::new(),
        }
    }

    /// Adds a route. Refused if another serves one of its methods on the same
    /// path, whatever the parameters are called.
    pub fn add(&mut self, path: PathPattern, methods: Methods, value: T) -> Result<(), Clash<T>> {
        let mut at = 0;
        let mut takes_rest = false;
        for segment in path.segments() {
            match segment {
                Segment::Literal(text) => at = self.literal(at, text),
                Segment::Parameter(_) => at = self.parameter(at),
                Segment::Rest(_) => takes_rest = true,
            }
        }
        let branch = &self.branches[at];
        let ends = if takes_rest {
            &branch.rest
        } else {
            &branch.here
        };
        let mut there = ends.iter().map(|it| &self.routes[*it]);
        if let Some(entry) = there.find(|it| !it.methods.overlap(methods).is_empty()) {
            return Err(Clash {
                path: entry.path.text().clone(),
                held_by: entry.value.clone(),
                refused_path: path.text().clone(),
                refused: value,
                methods: entry.methods.overlap(methods),
            });
        }
        let index = self.routes.len();
        self.routes.push(Entry {
            path,
            methods,
            value,
        });
        let branch = &mut self.branches[at];
        let ends = if takes_rest {
            &mut branch.rest
        } else {
            &mut branch.here
        };
        ends.push(index);
        Ok(())
    }

    /// The route for a request.
    pub fn find(&self, target: &Target<'_>, method: &Method) -> Found<'_, T> {
        let segments = target.segments();
        let Some(ends) = self.search(0, segments) else {
            return Found::Nobody;
        };
        let serves = |serves: fn(Methods, &Method) -> bool| {
            let mut entries = ends.iter().map(|it| &self.routes[*it]);
            entries.find(|it| serves(it.methods, method))
        };
        // A route that names `HEAD` is meant for it, and one for `GET` is not.
        match serves(Methods::names).or_else(|| serves(Methods::contains)) {
            Some(entry) => Found::Route(&entry.value, params(&entry.path, segments)),
            None => {
                let entries = ends.iter().map(|it| self.routes[*it].methods);
                let all = entries.reduce(Methods::union);
                all.map_or(Found::Nobody, Found::WrongMethod)
            }
        }
    }

    /// The routes of the most specific path that matches. A branch of the tree
    /// is visited at most once, so the tree bounds the search.
    fn search(&self, at: usize, segments: &[Cow<'_, str>]) -> Option<&[usize]> {
        let branch = &self.branches[at];
        let Some((first, behind)) = segments.split_first() else {
            return (!branch.here.is_empty()).then_some(&branch.here);
        };
        if let Some(next) = branch.literals.get(&**first)
            && let Some(found) = self.search(*next, behind)
        {
            return Some(found);
        }
        if first.is_empty() {
            return None;
        }
        if let Some(next) = branch.parameter
            && let Some(found) = self.search(next, behind)
        {
            return Some(found);
        }
        (!branch.rest.is_empty()).then_some(&branch.rest)
    }

    fn literal(&mut self, at: usize, text: &str) -> usize {
        if let Some(next) = self.branches[at].literals.get(text) {
            return *next;
        }
        let next = self.grow();
        self.branches[at].literals.insert(text.into(), next);
        next
    }

    fn parameter(&mut self, at: usize) -> usize {
        if let Some(next) = self.branches[at].parameter {
            return next;
        }
        let next = self.grow();
        self.branches[at].parameter = Some(next);
        next
    }

    fn grow(&mut self) -> usize {
        self.branches.push(Branch::default());
        self.branches.len() - 1
    }
}

impl<T: Clone> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The values of the parameters of a path that is known to match.
fn params(path: &PathPattern, segments: &[Cow<'_, str>]) -> Params {
    let mut params = Params::new();
    for (at, segment) in path.segments().iter().enumerate() {
        match segment {
            Segment::Literal(_) => {}
            Segment::Parameter(name) => params.push((name.clone(), segments[at].to_string())),
            Segment::Rest(name) => params.push((name.clone(), segments[at..].join("/"))),
        }
    }
    params
}

#[cfg(test)]
mod tests;
