//! The page in `docs/`: its measured part is written by the program, the words around it by people.

use std::path::Path;

use anyhow::Context;

use super::{Measured, Report, chart};

/// The part of the page that a table fills, by the lines around it.
const USUAL: [&str; 2] = ["<!-- measured: begin -->", "<!-- measured: end -->"];
const GROWTH: [&str; 2] = ["<!-- growth: begin -->", "<!-- growth: end -->"];
const PAGE: &str = "benchmarks.md";
const PLOT: &str = "benchmarks.svg";

/// Puts the tables that were measured into the page of the folder `docs`, each between its marks, and the plot beside it.
pub(crate) fn update(docs: &Path, report: &Report) -> anyhow::Result<()> {
    let page = docs.join(PAGE);
    let mut text =
        std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let usual: Vec<&Measured> = report.measured.iter().filter(|case| !case.is_growth).collect();
    let plot = chart::chart(&usual);
    let image = if plot.is_some() { format!("\n![Jobs per second]({PLOT})\n") } else { String::new() };
    let usual = report.usual().map(|table| format!("{table}{image}"));
    for (marks, measured) in [(USUAL, usual), (GROWTH, report.growth())] {
        let Some(measured) = measured else { continue };
        text = between_marks(&text, marks, &measured)
            .with_context(|| format!("{} lacks the lines {}", page.display(), marks.join(" and ")))?;
    }
    if let Some(plot) = plot {
        std::fs::write(docs.join(PLOT), plot).with_context(|| format!("cannot write {PLOT}"))?;
    }
    std::fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn between_marks(text: &str, [begin, end]: [&str; 2], measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{measured}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let [begin, end] = USUAL;
        let growth = GROWTH.join("\nkept\n");
        let page = format!("# A\n{begin}\nold\n{end}\n## B\n{growth}\n");
        let expected = format!("# A\n{begin}\n\nnew\n{end}\n## B\n{growth}\n");
        assert_eq!(between_marks(&page, USUAL, "new").unwrap(), expected);
        assert_eq!(between_marks("# A\n", USUAL, "new"), None);
    }

    #[test]
    fn the_page_of_this_repository_has_all_marks() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(PAGE);
        let text = std::fs::read_to_string(page).unwrap();
        for marks in [USUAL, GROWTH] {
            assert!(between_marks(&text, marks, "").is_some(), "{marks:?}");
        }
    }
}
