//! The ratios to the limit as an SVG: a bar for each peer, a group for each workload.

use std::fmt::Write;

use super::{Report, Row};
use crate::stats::Summary;

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 250.0;
const LONGEST: f64 = 400.0;
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
const HEAD: f64 = 34.0;
/// In parts of the limit, what is too short for its differences to be seen.
const SHORT: f64 = 0.5;

/// Draws the tables that are for it, with their ratios to this row; `None` where there is no such table.
pub fn chart(reports: &[Report], reference: &str) -> Option<String> {
    let groups: Vec<(&Report, Vec<(&Row, Summary)>)> =
        reports.iter().filter_map(|report| group(report, reference)).collect();
    if groups.is_empty() {
        return None;
    }
    let height = groups.iter().map(|(_, bars)| HEAD + STEP * bars.len() as f64).sum::<f64>() + HEAD;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">\n\
         <title>Lines per second in parts of {name}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        name = escaped(reference)
    );
    let mut y = 0.0;
    for (report, bars) in &groups {
        y += HEAD;
        let longest = scale(bars);
        if longest >= 1.0 {
            let (limit, end) = (LEFT + LONGEST / longest, y + STEP * bars.len() as f64);
            let _ = writeln!(svg, "<path d=\"M{limit:.1} {y}V{end}\" stroke=\"#999\" stroke-dasharray=\"3\"/>");
        }
        let title = escaped(&report.title.replace('`', ""));
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>", y - 10.0);
        for (row, ratio) in bars {
            let length = |value: f64| value / longest * LONGEST;
            let (middle, color) = (y + BAR / 2.0, if row.peer.starts_with("wasmline") { "#2a6f97" } else { "#adb5bd" });
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
                 <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#333\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{:.*}</text>",
                LEFT - 8.0,
                y + 11.0,
                escaped(&row.peer),
                length(ratio.median),
                LEFT + length(ratio.min),
                LEFT + length(ratio.max.min(longest)),
                LEFT + length(ratio.max.min(longest)) + 8.0,
                y + 11.0,
                if longest < 1.0 { 3 } else { 2 },
                ratio.median,
            );
            y += STEP;
        }
    }
    let _ = write!(
        svg,
        "<text x=\"10\" y=\"{}\" fill=\"#666\">Lines per second in parts of {}, in the same round: the median, and the range. Without the \
         dashed limit, a group has a scale of its own.</text>\n</svg>\n",
        height - 8.0,
        escaped(reference)
    );
    Some(svg)
}

/// What the whole length stands for: the limit or more, unless all bars would be short.
fn scale(bars: &[(&Row, Summary)]) -> f64 {
    let most = bars.iter().map(|(_, ratio)| ratio.median).fold(0.0, f64::max);
    if most > 0.0 && most < SHORT { most } else { most.max(1.0) }
}

fn group<'a>(report: &'a Report, reference: &str) -> Option<(&'a Report, Vec<(&'a Row, Summary)>)> {
    if !report.charted {
        return None;
    }
    let limit = report.measured_references().find(|row| row.peer == reference)?;
    let others = report.rows.iter().filter(|row| row.peer != reference);
    let bars: Vec<_> = others.filter_map(|row| Some((row, report.ratio(row, limit)?))).collect();
    (!bars.is_empty()).then_some((report, bars))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn each_peer_but_the_reference_has_a_bar() {
        let svg = chart(&[example()], "raw echo").unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains("echo, 50 connections &lt;&amp;&gt; one line</text>"), "{svg}");
        // 0.6 of the longest bar, which is 1.
        assert!(svg.contains("width=\"240.0\" height=\"14\" fill=\"#2a6f97\""), "{svg}");
        assert!(svg.contains(">0.60</text>"), "{svg}");
        assert_eq!(svg.matches("<rect x=").count(), 1, "{svg}");
    }

    #[test]
    fn short_bars_have_a_scale_of_their_own() {
        let mut report = example();
        for sample in &mut report.rows[1].samples {
            sample[0] /= 10.0;
        }
        let svg = chart(&[report], "raw echo").unwrap();
        assert!(svg.contains("width=\"400.0\"") && svg.contains(">0.060</text>"), "{svg}");
        assert!(!svg.contains("stroke-dasharray"), "{svg}");
    }

    #[test]
    fn without_such_a_table_there_is_no_chart() {
        assert_eq!(chart(&[], "raw echo"), None);
        assert_eq!(chart(&[example()], "Twisted"), None);
    }
}
