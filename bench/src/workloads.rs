//! What is measured.

mod bare;
mod connect;
mod drop;
mod hash;
mod idle;
mod lastlog;
mod lines;
mod loaded;
mod open_loop;
mod sleepers;

use crate::Result;
use crate::report::{Report, Row};
use crate::run::Bench;

/// Measures something, and says what came out.
pub type Workload = fn(&Bench) -> Result<Vec<Report>>;

/// By the names that `--only` takes, in the order in which they are run.
pub const WORKLOADS: &[(&str, Workload)] = &[
    ("echo", lines::echo),
    ("unknown", lines::unknown),
    ("bare", bare::measure),
    ("open-loop", open_loop::measure),
    ("connect", connect::measure),
    ("comphash", hash::measure),
    ("lastlog", lastlog::measure),
    ("drop", drop::measure),
    ("sleepers", sleepers::measure),
    ("idle", idle::measure),
    ("loaded", loaded::measure),
];

/// Measures each of the items once in every round. Every round begins with another of them, so that none always comes after the
/// same one.
fn rounds<T>(
    count: usize,
    items: &mut [T],
    name: impl Fn(&T) -> String,
    mut measure: impl FnMut(&mut T) -> Result<Vec<f64>>,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = items.iter().map(|item| Row { peer: name(item), samples: Vec::new() }).collect();
    for round in 0..count {
        for place in 0..items.len() {
            let index = (round + place) % items.len();
            let sample = measure(&mut items[index]).map_err(|error| format!("{}: {error}", rows[index].peer))?;
            rows[index].samples.push(sample);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn peers_take_turns_and_none_is_always_first() {
        let order = RefCell::new(String::new());
        let measure = |item: &mut char| {
            order.borrow_mut().push(*item);
            Ok(vec![order.borrow().len() as f64])
        };
        let rows = rounds(3, &mut ['a', 'b', 'c'], char::to_string, measure).unwrap();
        assert_eq!(order.borrow().as_str(), "abcbcacab");
        assert_eq!(rows[0].peer, "a");
        assert_eq!(rows[0].values(0), [1.0, 6.0, 8.0]);
    }

    #[test]
    fn a_failure_names_the_peer() {
        let error = rounds(1, &mut ['a'], char::to_string, |_| Err("no".to_owned())).unwrap_err();
        assert_eq!(error, "a: no");
    }
}
