//! What a workload found: a table of peers, with a sample of each for every round.

mod chart;
mod json;
mod markdown;

use crate::stats::{Summary, ratios};

pub use chart::chart;
pub use json::results;
pub use markdown::tables;

/// A figure that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// With its unit, as the head of a column.
    pub name: &'static str,
    /// Digits behind the point.
    pub digits: usize,
}

/// A table.
#[derive(Debug, Clone)]
pub struct Report {
    /// The workload, and which part of it.
    pub id: String,
    pub title: String,
    /// The first is the one that ratios are made of.
    pub metrics: Vec<Metric>,
    /// Rows that the others are divided by, in each round, where they were measured.
    pub references: Vec<&'static str>,
    pub rows: Vec<Row>,
    /// Is a rate that the chart shows, in parts of the limit.
    pub charted: bool,
    /// What a reader has to know about the figures.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub peer: String,
    /// For each round, the value of each metric; what could not be measured is not a number.
    pub samples: Vec<Vec<f64>>,
}

impl Row {
    /// The values of a metric, of all rounds.
    pub fn values(&self, metric: usize) -> Vec<f64> {
        self.samples.iter().filter_map(|sample| sample.get(metric).copied()).collect()
    }

    pub fn summary(&self, metric: usize) -> Option<Summary> {
        Summary::of(&self.values(metric).into_iter().filter(|value| value.is_finite()).collect::<Vec<_>>())
    }
}

impl Report {
    /// The references that have a row.
    pub fn measured_references(&self) -> impl Iterator<Item = &Row> {
        self.references.iter().filter_map(|name| self.rows.iter().find(|row| row.peer == *name))
    }

    /// The first metric of a row in parts of another row's.
    pub fn ratio(&self, row: &Row, reference: &Row) -> Option<Summary> {
        Summary::of(&ratios(&row.values(0), &reference.values(0)))
    }
}

#[cfg(test)]
pub(crate) fn example() -> Report {
    let row = |peer: &str, samples: &[[f64; 2]]| Row {
        peer: peer.to_owned(),
        samples: samples.iter().map(|sample| sample.to_vec()).collect(),
    };
    Report {
        id: "echo 50x1".to_owned(),
        title: "`echo`, 50 connections <&> one line".to_owned(),
        metrics: vec![Metric { name: "lines/s", digits: 0 }, Metric { name: "CPU µs/line", digits: 1 }],
        references: vec!["raw echo", "Twisted"],
        rows: vec![
            row("raw echo", &[[100_000.0, 7.0], [50_000.0, 14.0], [110_000.0, 6.5]]),
            row("wasmline", &[[60_000.0, 12.0], [30_000.0, f64::NAN], [77_000.0, 11.0]]),
        ],
        charted: true,
        notes: vec!["A note.".to_owned()],
    }
}
