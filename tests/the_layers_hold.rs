//! A crate is added, or an edge between crates: the table of ARCHITECTURE.md holds, also where cargo-deny is missing.
//!
//! Read from `cargo metadata`, so what the manifests say, for every target and feature. What a client library pulls in by
//! itself is looked at by `deny.toml`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace, from the ground up; one may depend only on those with a smaller number.
const ROWS: [(&str, u8); 16] = [
    ("sluice-types", 0),
    ("sluice-policy", 1),
    ("sluice-config", 2),
    ("sluice-telemetry", 3),
    ("sluice-engine", 4),
    // Adapters: one number, so never on one another.
    ("sluice-amqp", 5),
    ("sluice-postgres", 5),
    ("sluice-embedded", 5),
    ("sluice-esp", 5),
    ("sluice-dns", 5),
    ("sluice-http", 5),
    ("sluice", 6),
    // Tests only: no crate names it but among its dev-dependencies, and these programs.
    ("sluice-testkit", 5),
    ("sluice-bench", 6),
    ("sluice-chaos", 6),
    ("sluice-e2e", 7),
];
/// Programs that measure and break, built of the testkit.
const PROGRAMS: [&str; 2] = ["sluice-bench", "sluice-chaos"];
/// Below this row nothing knows of IO.
const FIRST_WITH_IO: u8 = 3;
/// What talks to the world or waits: not for the ground.
const IO: [&str; 9] = [
    "tokio",
    "tokio-util",
    "async-trait",
    "futures-util",
    "hyper",
    "rustls",
    "tokio-rustls",
    "tempfile",
    "tracing",
];
/// A library that speaks to one kind of outside system, and who may name it.
const CLIENTS: [(&str, &[&str]); 22] = [
    ("lapin", &["sluice-amqp", "sluice-testkit", "sluice-bench", "sluice-chaos"]),
    ("backoff", &["sluice-amqp"]),
    ("tokio-postgres", &["sluice-postgres", "sluice-testkit", "sluice-e2e", "sluice-bench", "sluice-chaos"]),
    ("tokio-postgres-rustls", &["sluice-postgres"]),
    ("deadpool-postgres", &["sluice-postgres"]),
    ("refinery", &["sluice-postgres"]),
    ("rusqlite", &["sluice-embedded"]),
    ("reqwest", &["sluice-e2e"]),
    ("lettre", &["sluice-esp", "sluice-testkit"]),
    ("axum", &["sluice-http"]),
    ("h2", &["sluice-esp", "sluice-testkit", "sluice-bench"]),
    ("hyper", &["sluice-http", "sluice-esp"]),
    ("hyper-util", &["sluice-http", "sluice-esp"]),
    ("hyper-rustls", &["sluice-esp"]),
    ("tower", &["sluice-http"]),
    ("tower-http", &["sluice-http"]),
    ("utoipa", &["sluice-http"]),
    ("hickory-resolver", &["sluice-dns"]),
    ("prometheus", &["sluice-telemetry"]),
    ("tracing-subscriber", &["sluice-telemetry", "sluice-dns", "sluice-amqp"]),
    ("clap", &["sluice", "sluice-bench", "sluice-chaos"]),
    ("indicatif", &["sluice"]),
];

/// A dependency of a manifest.
#[derive(Clone, Debug)]
struct Edge {
    from: String,
    to: String,
    is_dev: bool,
}

fn edges() -> (Vec<String>, Vec<Edge>) {
    let root = format!("{}/..", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let edges = packages.iter().flat_map(|package| {
        package["dependencies"].as_array().unwrap().iter().map(|it| Edge {
            from: text(&package["name"]),
            to: text(&it["name"]),
            is_dev: it["kind"] == "dev",
        })
    });
    (packages.iter().map(|it| text(&it["name"])).collect(), edges.collect())
}

/// What is wrong with one edge, if anything is.
fn fault(edge: &Edge) -> Option<String> {
    let rows: BTreeMap<&str, u8> = ROWS.into_iter().collect();
    let Edge { from, to, is_dev } = edge;
    let row = *rows.get(from.as_str())?;
    if to == "sluice-testkit" {
        return (!is_dev && !PROGRAMS.contains(&from.as_str()))
            .then(|| format!("{from} names {to} outside its dev-dependencies"));
    }
    if let Some(under) = rows.get(to.as_str()) {
        return (*under >= row).then(|| format!("{from} may not depend on {to}: it is not a row above"));
    }
    if row < FIRST_WITH_IO && !is_dev && IO.contains(&to.as_str()) {
        return Some(format!("{from} is pure and may not depend on {to}"));
    }
    let (_, allowed) = CLIENTS.into_iter().find(|(client, _)| client == to)?;
    (!allowed.contains(&from.as_str()))
        .then(|| format!("{to} is for {} and not for {from}", allowed.join(", ")))
}

#[test]
fn every_crate_has_its_row_and_every_edge_leads_down() {
    let (crates, edges) = edges();
    for name in &crates {
        let has_row = ROWS.iter().any(|(row, _)| row == name);
        assert!(has_row, "{name} has no row: give it one in ARCHITECTURE.md and here");
    }
    assert_eq!(crates.len(), ROWS.len(), "{crates:?}");
    let faults: Vec<String> = edges.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_edge_that_leads_up_or_across_is_found() {
    let edge = |from: &str, to: &str, is_dev| Edge { from: from.to_owned(), to: to.to_owned(), is_dev };
    for (from, to, is_dev, good) in [
        ("sluice-engine", "sluice-policy", false, true),
        ("sluice-policy", "sluice-engine", false, false),
        ("sluice-policy", "sluice-engine", true, false),
        ("sluice-http", "sluice-esp", false, false),
        ("sluice-http", "sluice-esp", true, false),
        ("sluice-http", "sluice-config", true, true),
        ("sluice-postgres", "sluice-testkit", true, true),
        ("sluice-postgres", "sluice-testkit", false, false),
        ("sluice-config", "tokio", false, false),
        ("sluice-types", "thiserror", false, true),
        ("sluice-engine", "lapin", false, false),
        ("sluice", "hyper-util", false, false),
        ("sluice-esp", "hyper-util", false, true),
    ] {
        assert_eq!(fault(&edge(from, to, is_dev)).is_none(), good, "{from} to {to}");
    }
}
