//! Strict serializability: the transactions on registers have an order in which
//! each reads what the one before it left, and which does not contradict the
//! clock.
//!
//! That is so if and only if the graph of who has to stand behind whom has no
//! cycle (Adya, "Weak Consistency", 1999). Its edges:
//!
//! - `ww`: it wrote a key right behind the other;
//! - `wr`: it read what the other wrote;
//! - `rw`: it overwrote what the other read;
//! - `clock`: it was asked for after the other had been answered.
//!
//! Edges of the clock would be as many as pairs of transactions: instead, each
//! answer leads to a moment, each moment to the next, and each moment to what
//! was asked right behind it. Cycles are strongly connected components; of one
//! that is found, the shortest cycle is shown.

use super::Violation;
use super::sums::is_committed;
use super::versions::{Index, Versions};
use crate::history::{History, Outcome};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// A graph: transactions first, then moments.
#[derive(Debug, Default)]
struct Graph {
    edges: Vec<Vec<(usize, &'static str)>>,
    /// How many of the nodes are transactions.
    transactions: usize,
}

/// What is wrong with the order of the transactions.
pub fn check(history: &History) -> Vec<Violation> {
    let versions = Versions::of(history);
    let graph = Graph::of(history, &versions);
    let components = graph.components();
    let cycles = components.iter().filter_map(|component| {
        let cycle = graph.shortest_cycle(component)?;
        let steps: Vec<String> = cycle
            .iter()
            .filter(|(node, _)| *node < graph.transactions)
            .map(|(node, edge)| format!("{} -{edge}->", history.transactions[*node].marker))
            .collect();
        let what = format!("a cycle: {}", steps.join(" "));
        let parts = cycle.iter().filter(|(node, _)| *node < graph.transactions);
        let parts = parts.map(|(node, _)| &history.transactions[*node]);
        Some(Violation::of("serializability", what).shown_by(parts))
    });
    cycles.collect()
}

impl Graph {
    fn of(history: &History, versions: &Versions<'_>) -> Self {
        let transactions = history.transactions.len();
        let mut graph = Self {
            edges: vec![Vec::new(); transactions],
            transactions,
        };
        graph.add_dependencies(history, versions);
        graph.add_clock(history);
        graph
    }

    fn add(&mut self, from: usize, to: usize, kind: &'static str) {
        if from != to {
            self.edges[from].push((to, kind));
        }
    }

    fn add_dependencies(&mut self, history: &History, versions: &Versions<'_>) {
        for ((key, value), next) in &versions.next {
            if let Some(before) = versions.writers.get(&(*key, *value)) {
                self.add(*before, *next, "ww");
            }
        }
        // The writers of each key in the order of the versions that were read.
        let mut later: HashMap<&str, BTreeMap<u64, Index>> = HashMap::new();
        for (key, seen) in &versions.seen {
            let writers = seen.iter().filter_map(|(version, value)| {
                Some((*version, *versions.writers.get(&(*key, *value))?))
            });
            let writers: BTreeMap<u64, Index> = writers.collect();
            for (before, after) in writers.values().zip(writers.values().skip(1)) {
                self.add(*before, *after, "ww");
            }
            later.insert(key, writers);
        }
        for (index, transaction) in history.transactions.iter().enumerate() {
            if transaction.outcome != Outcome::Ok {
                continue;
            }
            for read in &transaction.reads {
                let value = (read.key.as_str(), read.value.as_str());
                if let Some(writer) = versions.writers.get(&value) {
                    self.add(*writer, index, "wr");
                }
                if let Some(next) = versions.next.get(&value) {
                    self.add(index, *next, "rw");
                }
                let next = later.get(read.key.as_str());
                let next = next.and_then(|it| it.range(read.version + 1..).next());
                if let Some((_, next)) = next {
                    self.add(index, *next, "rw");
                }
            }
        }
    }

    fn add_clock(&mut self, history: &History) {
        let is_seen = |index: &Index| {
            let it = &history.transactions[*index];
            is_committed(history, it) && !(it.reads.is_empty() && it.writes.is_empty())
        };
        let seen: Vec<Index> = (0..self.transactions).filter(is_seen).collect();
        let mut answers: Vec<(u64, Index)> = seen
            .iter()
            .filter(|it| history.transactions[**it].outcome == Outcome::Ok)
            .filter_map(|it| Some((history.transactions[*it].told?, *it)))
            .collect();
        answers.sort_unstable();
        let first = self.edges.len();
        self.edges.resize(first + answers.len(), Vec::new());
        for (at, (_, answered)) in answers.iter().enumerate() {
            self.add(*answered, first + at, "clock");
            if at > 0 {
                self.add(first + at - 1, first + at, "clock");
            }
        }
        for index in seen {
            let asked = history.transactions[index].asked;
            let before = answers.partition_point(|(told, _)| *told < asked);
            if before > 0 {
                self.add(first + before - 1, index, "clock");
            }
        }
    }

    /// The strongly connected components of more than one node, by Tarjan's
    /// algorithm, without recursion.
    fn components(&self) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.edges.len();
        let (mut number, mut low) = (vec![UNSEEN; count], vec![0; count]);
        let mut is_open = vec![false; count];
        let (mut open, mut found, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if number[root] != UNSEEN {
                continue;
            }
            let mut path = vec![(root, 0)];
            while let Some((node, edge)) = path.pop() {
                if edge == 0 {
                    (number[node], low[node]) = (next, next);
                    next += 1;
                    open.push(node);
                    is_open[node] = true;
                }
                if let Some((to, _)) = self.edges[node].get(edge) {
                    path.push((node, edge + 1));
                    if number[*to] == UNSEEN {
                        path.push((*to, 0));
                    } else if is_open[*to] {
                        low[node] = low[node].min(number[*to]);
                    }
                    continue;
                }
                if let Some((parent, _)) = path.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
                if low[node] == number[node] {
                    let at = open.iter().rposition(|it| *it == node).unwrap_or(0);
                    let component = open.split_off(at);
                    component.iter().for_each(|it| is_open[*it] = false);
                    if component.len() > 1 {
                        found.push(component);
                    }
                }
            }
        }
        found
    }

    /// The cycle within a component that has the fewest transactions: its nodes,
    /// each with the kind of the edge that leads on.
    fn shortest_cycle(&self, component: &[usize]) -> Option<Vec<(usize, &'static str)>> {
        /// More beginnings than this are not tried.
        const BEGINNINGS: usize = 200;
        let inside: HashSet<usize> = component.iter().copied().collect();
        let begin = component.iter().filter(|it| **it < self.transactions);
        let cycles = begin
            .take(BEGINNINGS)
            .filter_map(|begin| self.shortest_cycle_of(*begin, &inside));
        cycles.min_by_key(|(length, _)| *length).map(|(_, it)| it)
    }

    /// The same of the cycles through one node, with how many transactions it
    /// has: moments cost nothing, so they are looked at first.
    fn shortest_cycle_of(
        &self,
        begin: usize,
        inside: &HashSet<usize>,
    ) -> Option<(usize, Vec<(usize, &'static str)>)> {
        let mut from: HashMap<usize, (usize, usize, &'static str)> = HashMap::new();
        let mut queue = VecDeque::from([(0, begin)]);
        while let Some((length, node)) = queue.pop_front() {
            if length > 0 && node == begin {
                break;
            }
            for (to, kind) in self.edges[node]
                .iter()
                .filter(|(to, _)| inside.contains(to))
            {
                let cost = usize::from(*to < self.transactions);
                let better = from.get(to).is_none_or(|(it, ..)| length + cost < *it);
                if better {
                    from.insert(*to, (length + cost, node, *kind));
                    match cost {
                        0 => queue.push_front((length, *to)),
                        _ => queue.push_back((length + cost, *to)),
                    }
                }
            }
        }
        let (length, ..) = *from.get(&begin)?;
        let mut cycle = Vec::new();
        let mut node = begin;
        while let Some((_, before, kind)) = from.get(&node) {
            cycle.push((*before, *kind));
            node = *before;
            if node == begin {
                break;
            }
        }
        cycle.reverse();
        Some((length, cycle))
    }
}

#[cfg(test)]
mod tests {
    use super::super::versions::tests::history;
    use super::*;

    fn cycles(texts: &[&str]) -> Vec<String> {
        check(&history(texts))
            .into_iter()
            .map(|it| it.what)
            .collect()
    }

    #[test]
    fn what_has_an_order_passes() {
        for texts in [
            &["a: x@0= x<1", "b: x@1=1 x<2", "c: x@2=2"][..],
            &["a: x@0= y@0= x<1", "b: x@1=1 y@0= y<1", "c: x@1=1 y@2=1"],
            &["?a: x<1", "b: x@3=1", "c: x@3=1 x<2", "d: x@4=2"],
            // Not one after the other by the versions, and nobody can tell.
            &["a: x@0=", "b: x@0= x<1"],
        ] {
            assert_eq!(cycles(texts), Vec::<String>::new(), "{texts:?}");
        }
    }

    #[test]
    fn a_cycle_of_dependencies_is_found_at_whatever_time() {
        for texts in [
            // Each read what the other overwrote (write skew).
            &["a: x@0= y@0= x<1", "b: x@0= y@0= y<1"][..],
            // A reader between the halves of one commit.
            &["a: x@0= y@0= x<1 y<1", "b: x@1=1 y@0="],
            // Each read what the other wrote.
            &["a: y@2=1 x<1", "b: x@1=1 y<1"],
        ] {
            let mut history = history(texts);
            for it in &mut history.transactions {
                (it.asked, it.told) = (0, Some(100));
            }
            assert_eq!(check(&history).len(), 1, "{texts:?}");
        }
    }

    #[test]
    fn a_read_of_what_had_been_overwritten_is_found_by_the_clock() {
        let found = cycles(&["a: x@0= x<1", "b: x@1=1 x<2", "c: x@1=1"]);
        assert_eq!(found, ["a cycle: b -clock-> c -rw->"]);
    }

    #[test]
    fn the_shortest_cycle_is_shown() {
        let found = cycles(&[
            "a: x@0= x<1",
            "b: x@1=1 x<2 p<2",
            "c: x@2=2 p@2=2 x<3",
            "d: x@1=1 p@0=",
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].matches("->").count(), 2, "{found:?}");
    }
}
