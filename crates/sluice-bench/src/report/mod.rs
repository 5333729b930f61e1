//! What a measurement says: a table for people, JSON for machines, a plot and a page for the documentation.

mod bars;
mod chart;
mod document;
mod growth;
mod machine;
mod stats;
mod table;

use serde::Serialize;
use serde_json::{Value, json};

use crate::case::Kind;
use crate::run::{Figure, Run};

pub(crate) use document::update;
pub(crate) use machine::{Machine, load};
use stats::Spread;

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) measured: Vec<Measured>,
    /// The runs only show whether all is correct.
    pub(crate) quick: bool,
}

/// The runs of one case.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    #[serde(skip)]
    pub(crate) kind: Kind,
    #[serde(skip)]
    pub(crate) is_growth: bool,
    pub(crate) runs: Vec<Run>,
}

impl Measured {
    /// Median and range of a figure over the runs.
    fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.figures.get(&figure).copied()))
    }
}

impl Report {
    /// Whether every run was correct.
    pub(crate) fn is_correct(&self) -> bool {
        self.measured.iter().flat_map(|case| &case.runs).all(|run| run.faults.is_empty())
    }

    /// For people: Markdown.
    pub(crate) fn text(&self) -> String {
        let parts: Vec<String> = [self.usual(), self.growth()].into_iter().flatten().collect();
        parts.join("\n")
    }

    /// The table without growth; `None` without any such case.
    fn usual(&self) -> Option<String> {
        self.part(false, table::table)
    }

    /// The table of growth; `None` without any such case.
    fn growth(&self) -> Option<String> {
        self.part(true, growth::table)
    }

    fn part(&self, is_growth: bool, table: impl Fn(&[&Measured]) -> String) -> Option<String> {
        let measured: Vec<&Measured> =
            self.measured.iter().filter(|case| case.is_growth == is_growth).collect();
        if measured.is_empty() {
            return None;
        }
        let mut text = format!("{}\n{}", self.machine, table(&measured));
        let bars = bars::bars(&measured);
        if !bars.is_empty() {
            text.push_str(&format!("\n{bars}"));
        }
        for (name, fault) in faults(measured.iter().copied()) {
            text.push_str(&format!("\nNOT CORRECT: {name}: {fault}"));
        }
        if self.quick {
            text.push_str("\nA quick run: it shows whether all is correct. Its figures mean nothing.\n");
        }
        Some(text)
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let cases = self.measured.iter().map(|case| {
            let figures = case.runs.iter().flat_map(|run| run.figures.keys());
            let figures: std::collections::BTreeSet<Figure> = figures.copied().collect();
            let spreads: Value = figures
                .into_iter()
                .filter_map(|figure| {
                    let name = serde_json::to_value(figure).ok()?.as_str()?.to_owned();
                    Some((name, serde_json::to_value(case.spread(figure)).ok()?))
                })
                .collect::<serde_json::Map<String, Value>>()
                .into();
            json!({"name": case.name, "about": case.about, "figures": spreads, "runs": case.runs})
        });
        json!({
            "machine": self.machine,
            "quick": self.quick,
            "correct": self.is_correct(),
            "cases": cases.collect::<Vec<_>>(),
        })
    }
}

fn faults<'a>(measured: impl Iterator<Item = &'a Measured>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let runs = measured.flat_map(|case| case.runs.iter().map(move |run| (case.name, run)));
    runs.flat_map(|(name, run)| run.faults.iter().map(move |fault| (name, fault.as_str())))
}
