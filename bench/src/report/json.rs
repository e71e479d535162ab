//! The results as JSON: every sample, and what was made of them.

use serde_json::{Map, Value, json};

use super::{Report, Row};
use crate::machine::Machine;
use crate::stats::Summary;

/// All that was measured, and on what.
pub fn results(machine: &Machine, reports: &[Report], notes: &[String]) -> Value {
    let facts: Map<String, Value> =
        machine.facts().iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
    json!({
        "machine": facts,
        "notes": notes,
        "tables": reports.iter().map(report_value).collect::<Vec<_>>(),
    })
}

fn report_value(report: &Report) -> Value {
    json!({
        "id": report.id,
        "title": report.title,
        "metrics": report.metrics.iter().map(|metric| metric.name).collect::<Vec<_>>(),
        "notes": report.notes,
        "rows": report.rows.iter().map(|row| row_value(report, row)).collect::<Vec<_>>(),
    })
}

fn row_value(report: &Report, row: &Row) -> Value {
    let metrics: Map<String, Value> = report
        .metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| (metric.name.to_owned(), summary_value(row.summary(index), row.values(index))))
        .collect();
    let ratios: Map<String, Value> = report
        .measured_references()
        .map(|reference| (reference.peer.clone(), summary_value(report.ratio(row, reference), Vec::new())))
        .collect();
    json!({ "peer": row.peer, "metrics": metrics, "ratios": ratios })
}

/// A number that is none becomes `null`.
fn summary_value(summary: Option<Summary>, rounds: Vec<f64>) -> Value {
    let mut value = match summary {
        Some(Summary { median, min, max }) => json!({ "median": median, "min": min, "max": max }),
        None => json!({}),
    };
    if !rounds.is_empty() {
        value["rounds"] = json!(rounds);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn every_sample_is_there() {
        let machine = Machine::of([("CPU", "two cores".to_owned())]);
        let results = results(&machine, &[example()], &["no Twisted".to_owned()]);
        assert_eq!(results["machine"]["CPU"], "two cores");
        assert_eq!(results["notes"][0], "no Twisted");
        let row = &results["tables"][0]["rows"][1];
        assert_eq!(row["peer"], "wasmline");
        assert_eq!(row["metrics"]["lines/s"]["rounds"], json!([60_000.0, 30_000.0, 77_000.0]));
        assert_eq!(row["metrics"]["CPU µs/line"]["rounds"][1], Value::Null);
        assert_eq!(row["metrics"]["CPU µs/line"]["median"], 11.5);
        assert_eq!(row["ratios"]["raw echo"]["max"], 0.7);
        assert_eq!(row["ratios"]["Twisted"], Value::Null, "there was no Twisted");
    }
}
