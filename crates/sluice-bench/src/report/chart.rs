//! Throughput as a bar chart (SVG).

use std::fmt::Write;

use super::Measured;
use crate::case::Kind;
use crate::run::Figure;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 210.0;
const VALUES: f64 = 90.0;
const ROW: f64 = 24.0;
const TOP: f64 = 48.0;

/// A bar for each case that is as fast as it can be, with the range of its runs; `None` without any.
pub(super) fn chart(measured: &[&Measured]) -> Option<String> {
    let rows: Vec<_> = measured
        .iter()
        .filter(|case| {
            let kind = &case.kind;
            !matches!(kind, Kind::Priority | Kind::Isolation(..) | Kind::Webhooks | Kind::Enqueue(_))
        })
        .filter_map(|case| Some((case, case.spread(Figure::JobsPerSecond)?)))
        .collect();
    let most = rows.iter().map(|(_, spread)| spread.max).reduce(f64::max).filter(|most| *most > 0.0)?;
    let x = |value: f64| LABELS + value / most * (WIDTH - LABELS - VALUES);
    let height = TOP + ROW * rows.len() as f64 + 16.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
<text x="12" y="26" font-size="16" fill="black">Jobs per second: median of the runs, and their range. Grey: reference programs</text>
"#
    );
    for (place, (case, spread)) in rows.iter().enumerate() {
        let y = TOP + ROW * place as f64;
        let middle = y + ROW / 2.0 - 2.0;
        let colour =
            if matches!(case.kind, Kind::Reference(..) | Kind::Python(_)) { "#9aa0a6" } else { "#2a78d6" };
        // Writing to a String cannot fail.
        writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end" fill="black">{}</text><rect x="{LABELS}" y="{y}" width="{:.1}" height="{}" fill="{colour}"/><line x1="{:.1}" x2="{:.1}" y1="{middle}" y2="{middle}" stroke="black" stroke-width="2"/><text x="{:.1}" y="{}" fill="black">{:.0}</text>"#,
            LABELS - 8.0,
            middle + 5.0,
            case.name,
            x(spread.median) - LABELS,
            ROW - 4.0,
            x(spread.min),
            x(spread.max),
            x(spread.max) + 8.0,
            middle + 5.0,
            spread.median,
        )
        .ok();
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::Run;

    #[test]
    fn there_is_a_bar_for_each_case_and_none_without() {
        let case = Measured {
            name: "python",
            about: "",
            kind: Kind::Python(Duration::ZERO),
            is_growth: false,
            runs: vec![Run::new(100, 1.0), Run::new(100, 2.0)],
        };
        let svg = chart(&[&case]).unwrap();
        assert!(svg.contains(">python</text>") && svg.contains(">75</text>"), "{svg}");
        assert_eq!(chart(&[]), None);
    }
}
