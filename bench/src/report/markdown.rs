//! The tables as Markdown.

use std::fmt::Write;

use super::{Metric, Report, Row};
use crate::machine::Machine;
use crate::stats::Summary;

/// All tables, under what they were measured on.
pub fn tables(machine: &Machine, reports: &[Report], notes: &[String]) -> String {
    let mut text = String::new();
    for (name, value) in machine.facts() {
        let _ = writeln!(text, "- {name}: {value}");
    }
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    for report in reports {
        text += "\n";
        text += &table(report);
    }
    text
}

fn table(report: &Report) -> String {
    let references: Vec<&Row> = report.measured_references().collect();
    let mut head = vec![String::new()];
    head.extend(report.metrics.iter().take(1).map(|metric| metric.name.to_owned()));
    head.extend(references.iter().map(|row| format!("× {}", row.peer)));
    head.extend(report.metrics.iter().skip(1).map(|metric| metric.name.to_owned()));

    let mut text = format!("**{}**\n\n", report.title);
    line(&mut text, &head);
    line(&mut text, &vec!["---".to_owned(); head.len()]);
    for row in &report.rows {
        let mut cells = vec![row.peer.clone()];
        let metric = |(index, metric): (usize, &Metric)| shown(row.summary(index), metric.digits);
        cells.extend(report.metrics.iter().enumerate().take(1).map(metric));
        cells.extend(references.iter().map(|reference| {
            if reference.peer == row.peer { "1".to_owned() } else { shown(report.ratio(row, reference), 3) }
        }));
        cells.extend(report.metrics.iter().enumerate().skip(1).map(metric));
        line(&mut text, &cells);
    }
    for note in &report.notes {
        let _ = write!(text, "\n{note}\n");
    }
    text
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// The median, and the range behind it where there is one.
fn shown(summary: Option<Summary>, digits: usize) -> String {
    let Some(Summary { median, min, max }) = summary else { return "–".to_owned() };
    let (median, min, max) = (number(median, digits), number(min, digits), number(max, digits));
    if min == max { median } else { format!("{median} ({min}–{max})") }
}

/// The number with commas between thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let groups: Vec<&str> =
        whole.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{sign}{}{rest}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_table_has_medians_ranges_and_ratios() {
        assert_eq!(
            table(&example()),
            "**`echo`, 50 connections <&> one line**\n\n\
             |  | lines/s | × raw echo | CPU µs/line |\n\
             | --- | --- | --- | --- |\n\
             | raw echo | 100,000 (50,000–110,000) | 1 | 7.0 (6.5–14.0) |\n\
             | wasmline | 60,000 (30,000–77,000) | 0.600 (0.600–0.700) | 11.5 (11.0–12.0) |\n\
             \nA note.\n"
        );
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(123.456, 1), "123.5");
        assert_eq!(number(-1234.5, 2), "-1,234.50");
        assert_eq!(number(0.0, 0), "0");
        assert_eq!(shown(None, 1), "–");
        assert_eq!(shown(Summary::of(&[2.0, 2.01]), 1), "2.0");
    }
}
