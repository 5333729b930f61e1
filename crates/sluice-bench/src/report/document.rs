//! The page in `docs/`: its measured part is written by the program, the words around it by people.

use std::path::Path;

use anyhow::Context;

use super::{Report, chart};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
const PAGE: &str = "benchmarks.md";
const PLOT: &str = "benchmarks.svg";

/// Puts the report into the page of the folder `docs`, between its marks, and the plot beside it.
pub(crate) fn update(docs: &Path, report: &Report) -> anyhow::Result<()> {
    let page = docs.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let plot = chart::chart(&report.measured);
    let image = if plot.is_some() { format!("\n![Jobs per second]({PLOT})\n") } else { String::new() };
    let text = between_marks(&text, &format!("{}{image}", report.text()))
        .with_context(|| format!("{} lacks the lines {BEGIN} and {END}", page.display()))?;
    if let Some(plot) = plot {
        std::fs::write(docs.join(PLOT), plot).with_context(|| format!("cannot write {PLOT}"))?;
    }
    std::fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn between_marks(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{measured}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("# A\n{BEGIN}\nold\n{END}\n## B\n");
        assert_eq!(between_marks(&page, "new").unwrap(), format!("# A\n{BEGIN}\n\nnew\n{END}\n## B\n"));
        assert_eq!(between_marks("# A\n", "new"), None);
    }
}
