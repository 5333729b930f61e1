//! `sluice unknown` beside a running service whose sandbox loses answers.

use serde_json::Value;

use crate::site::Site;

const CONFIG: &str = "
[http]
listen = 'off'
[[esp]]
name = 'box'
kind = 'sandbox'
[esp.sandbox]
journal = 'journal.jsonl'
";

/// A service with three bulk jobs in doubt: a, b and c.
fn site() -> (Site, crate::rig::Running) {
    let site = Site::new(CONFIG);
    let running = site.start();
    site.enqueue_for(&[
        ("a", "unknown.a@gmail.com"),
        ("b", "unknown.b@gmail.com"),
        ("c", "unknown.c@gmail.com"),
    ]);
    site.wait_for(&["unknown", "list"], |it| it.as_array().is_some_and(|jobs| jobs.len() == 3));
    (site, running)
}

#[test]
fn jobs_in_doubt_are_listed_settled_and_resent() {
    let (site, running) = site();
    let jobs = site.json(&["unknown", "list", "--class", "bulk", "--esp", "box", "--limit", "2"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(2));
    let first = &jobs[0];
    assert_eq!((&first["category"], &first["has_body"]), (&"answer_lost".into(), &true.into()));
    assert_eq!((&first["attempt"], &first["resend_at"]), (&1.into(), &Value::Null));
    assert_eq!(site.json(&["unknown", "list", "--tenant", "nobody"]), Value::Array(Vec::new()));
    assert!(site.run(&["unknown", "list"]).out.contains("when you or an event say so"));

    let settle =
        ["unknown", "settle", "a", "nosuch", "--as", "accepted", "--note", "seen", "--format", "json"];
    let said = site.run_as(&settle, &[("USER", "ada")]);
    assert_eq!(said.code, 1, "one is not known: {said:?}");
    assert_eq!(said.json()[0], serde_json::json!({"id": "a", "status": "settled", "state": "accepted"}));
    assert_eq!(said.json()[1], serde_json::json!({"id": "nosuch", "status": "missing"}));
    let a = site.json(&["why", "a"]);
    assert_eq!((&a["state"], &a["pending"]), (&"accepted".into(), &Value::Null));
    let resolution = &a["resolutions"][0];
    assert_eq!((&resolution["by"], &resolution["note"]), (&"cli:ada".into(), &"seen".into()));

    let said = site.run(&["unknown", "resend", "b", "a"]);
    assert_eq!((said.code, said.out.trim()), (1, "resent 1, 1 stayed as they are"), "{said:?}");
    assert!(said.err.contains("a: is not in doubt: it is accepted"), "{said:?}");
    // The sandbox loses the second answer too.
    site.wait_for(&["why", "b"], |it| it["attempts"] == 2 && it["state"] == "unknown");
    let b = site.json(&["why", "b"]);
    assert_eq!(b["resolutions"][0]["verdict"], "resend");
    let journal = site.read("journal.jsonl");
    assert_eq!(journal.lines().filter(|line| line.contains("\"job_id\":\"b\"")).count(), 2, "{journal}");

    let said = site.json(&["unknown", "settle", "b", "c", "--as", "rejected"]);
    assert!(said.as_array().is_some_and(|all| all.iter().all(|it| it["state"] == "rejected")), "{said}");
    assert!(site.run(&["unknown", "list"]).err.contains("no job is in doubt"));
    assert_eq!(running.terminate(), 0);
}

#[test]
fn all_are_resent_in_one_go() {
    let (site, running) = site();
    let said = site.json(&["unknown", "resend", "--all", "--class", "transactional"]);
    assert_eq!(said, Value::Array(Vec::new()));
    let said = site.json(&["unknown", "resend", "--all", "--class", "bulk", "--note", "incident"]);
    assert_eq!(said.as_array().map(Vec::len), Some(3), "{said}");
    for id in ["a", "b", "c"] {
        site.wait_for(&["why", id], |it| it["attempts"] == 2);
        assert_eq!(site.json(&["why", id])["resolutions"][0]["note"], "incident");
    }
    assert_eq!(running.terminate(), 0);
}

#[test]
fn wrong_usage_is_told() {
    let site = Site::new(CONFIG);
    for args in [
        &["unknown", "resend"][..],
        &["unknown", "resend", "a", "--all"],
        &["unknown", "settle", "a"],
        &["unknown", "settle", "a", "--as", "maybe"],
        &["unknown", "settle", "a b", "--as", "accepted"],
        &["unknown", "list", "--class", "other"],
    ] {
        assert_eq!(site.run(args).code, 2, "{args:?}");
    }
    assert_eq!(site.run(&["unknown", "list"]).code, 1, "there is no store yet");
}
