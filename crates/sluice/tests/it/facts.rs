//! `sluice status`, `why`, `schema` and `migrate`.

use serde_json::Value;

use crate::rig::{Rig, job_line};

#[test]
fn the_status_has_the_same_shape_whatever_there_is() {
    let rig = Rig::new();
    rig.file("jobs.jsonl", job_line("a", "ada@gmail.com"));
    rig.run(&["enqueue", "jobs.jsonl"]);
    rig.run(&["suppress", "add", "bob@example.com"]);
    let status = rig.json(&["status"]);
    for (key, empty) in [("jobs", true), ("pending", true), ("dead", true)] {
        assert_eq!(status[key].as_object().unwrap().is_empty(), empty, "{status}");
    }
    assert_eq!(status["suppressions"], 1);
    let lanes = status["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 10);
    assert_eq!(lanes.iter().map(|it| it["ready"].as_u64().unwrap()).sum::<u64>(), 1);
    let said = rig.run(&["status"]);
    assert!(said.out.contains("default.transactional.gmail      1"), "{}", said.out);
    assert!(said.out.contains("(9 more lanes are empty)"), "{}", said.out);
}

#[test]
fn a_job_that_no_worker_has_seen_is_not_known() {
    let rig = Rig::new();
    rig.file("jobs.jsonl", job_line("a", "ada@gmail.com"));
    rig.run(&["enqueue", "jobs.jsonl"]);
    let said = rig.run(&["why", "a"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("may still be in its lane"), "{}", said.err);
    let said = rig.run(&["why", "a", "--format", "json"]);
    assert_eq!((said.code, said.json()), (1, Value::Null));
}

#[test]
fn migrate_makes_an_embedded_store() {
    let rig = Rig::new();
    let said = rig.run(&["migrate"]);
    assert_eq!((said.code, said.out.as_str()), (0, "sluice.db is up to date\n"), "{said:?}");
    assert!(rig.store().exists());
    assert_eq!(rig.json(&["migrate"])["store"], "embedded");
}
