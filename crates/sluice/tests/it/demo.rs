//! `sluice demo`: the whole pipeline, and every message accounted for.

use serde_json::Value;

use crate::rig::Rig;

/// The columns that add up to `jobs`.
const COLUMNS: [&str; 9] =
    ["accepted", "rejected", "suppressed", "expired", "unknown", "deferred", "duplicates", "dead", "lost"];

/// A count; the largest there is when it is none, which no test expects.
fn count(facts: &Value, name: &str) -> u64 {
    facts[name].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn a_demo_accounts_for_every_message_and_shows_a_breaker_open_and_close() {
    let rig = Rig::new();
    let facts = rig.json(&["demo", "--jobs", "300", "--keep", "kept"]);
    assert_eq!(count(&facts, "jobs"), 300);
    assert_eq!(COLUMNS.iter().map(|name| count(&facts, name)).sum::<u64>(), 300, "{facts}");
    for never in ["lost", "deferred", "unflagged_duplicates", "contradictions"] {
        assert_eq!(count(&facts, never), 0, "{never}: {facts}");
    }
    for some in COLUMNS.iter().filter(|name| !["lost", "deferred"].contains(name)) {
        assert!(count(&facts, some) > 0, "{some}: {facts}");
    }
    for some in ["failovers", "breaker_opened", "breaker_closed"] {
        assert!(count(&facts, some) > 0, "{some}: {facts}");
    }
    assert_eq!(facts["per_esp"]["flaky"]["breaker"], "closed", "{facts}");
    for kept in ["sluice.db", "sluice.toml", "healthy.journal", "flaky.journal", "slow.journal"] {
        assert!(rig.path().join("kept").join(kept).exists(), "{kept}");
    }

    // What was kept is an ordinary store with an ordinary configuration.
    let status = rig.json(&["status", "--config", "kept/sluice.toml"]);
    assert_eq!(status["jobs"]["accepted"], facts["accepted"], "{status}");

    let again = rig.run(&["demo", "--jobs", "300", "--keep", "kept"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("is there already"), "{again:?}");
}

#[test]
fn in_a_larger_demo_too_the_failing_esp_comes_back() {
    let facts = Rig::new().json(&["demo", "--jobs", "1000"]);
    assert_eq!((count(&facts, "jobs"), count(&facts, "lost")), (1000, 0), "{facts}");
    let flaky = &facts["per_esp"]["flaky"];
    assert!(count(flaky, "breaker_opened") > 0 && count(flaky, "breaker_closed") > 0, "{facts}");
    assert_eq!(flaky["breaker"], "closed", "{facts}");
}

#[test]
fn fewer_jobs_than_the_scenario_needs_are_a_usage_error() {
    let said = Rig::new().run(&["demo", "--jobs", "99"]);
    assert_eq!(said.code, 2, "{said:?}");
}
