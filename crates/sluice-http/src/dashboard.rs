//! The page for people: what the status routes answer, in tables. It holds no data of its own, so anybody may have it; what it
//! asks needs the token that those routes need.

use std::sync::LazyLock;

use sluice_types::WaitReason;

/// How the page looks.
pub(crate) const STYLE: &str = include_str!("dashboard/dashboard.css");
/// What asks, and shows the answers.
pub(crate) const SCRIPT: &str = include_str!("dashboard/dashboard.js");
/// Where the rows of the closed list of waiting reasons belong.
const REASONS: &str = "REASONS";

/// The page, with a row for each waiting reason.
pub(crate) static PAGE: LazyLock<String> = LazyLock::new(|| {
    let row = |word: &str| {
        format!(
            "<tr data-reason=\"{word}\"><th>{word}</th><td class=\"number\">-</td><td class=\"number\">-</td></tr>"
        )
    };
    let rows: Vec<String> = WaitReason::ALL.iter().map(|it| row(it.as_str())).collect();
    include_str!("dashboard/page.html").replace(REASONS, &rows.join("\n"))
});

#[cfg(test)]
mod tests;
