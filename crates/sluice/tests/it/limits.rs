//! `sluice limits`, beside a service that runs.

use serde_json::Value;

use crate::rig::Said;
use crate::site::{Site, TWO_TICKS};

/// The key of the limit that is set.
const KEY: &str = "tenant:acme/per:h";
/// Jobs that cannot go are parked at once, so that the store knows of them.
const CONFIG: &str = r#"
[worker]
hold_max = "0ms"
[[esp]]
name = "sandbox"
kind = "sandbox"
limits = ["100/s", "50000/h"]
[[esp]]
name = "spare"
kind = "sandbox"
[[pool]]
name = "default"
members = [{ esp = "sandbox" }]
failover = ["spare"]
[[domain_group]]
name = "gmail"
domains = ["gmail.com"]
"#;

fn find<'a>(told: &'a Value, key: &str) -> &'a Value {
    let limits = told["limits"].as_array().unwrap();
    limits.iter().find(|it| it["key"] == key).unwrap_or(&Value::Null)
}

#[test]
fn a_limit_that_is_set_holds_in_the_running_service() {
    let site = Site::new(CONFIG);
    let service = site.start();
    let listed = site.json(&["limits", "list"]);
    let before = find(&listed, "esp:sandbox/per:s");
    assert_eq!((&before["spec"], &before["left"]), (&"100/s".into(), &100.into()), "{before}");
    assert_eq!(find(&listed, KEY), &Value::Null);

    let set = ["limits", "set", "tenant:acme", "2/h"];
    let said = site.run_as(&set, &[("USER", "root"), ("SUDO_USER", "ops")]);
    assert_eq!((said.code, said.out.as_str()), (0, "tenant:acme/per:h: no limit -> 2/h\n"), "{said:?}");
    assert!(said.err.contains("follow within two ticks"), "{}", said.err);
    let listed = site.json(&["limits", "list"]);
    let set = find(&listed, KEY);
    assert_eq!(set["edited_by"], "ops", "{set}");
    assert_eq!((&set["spec"], &set["configured"], &set["left"]), (&"2/h".into(), &Value::Null, &2.into()));

    // Nothing tells from outside when the service has taken it up, but that takes two ticks at most.
    std::thread::sleep(TWO_TICKS);
    let ids = ["a", "b", "c", "d", "e"];
    site.enqueue(&ids, Some("spring"));
    site.wait_for(&["status"], |it| it["jobs"]["accepted"] == 2 && it["pending"]["tenant_limit"] == 3);
    let listed = site.json(&["limits", "list"]);
    let used = find(&listed, KEY);
    assert_eq!((&used["left"], &used["parked"]), (&0.into(), &3.into()), "{used}");
    let text = site.run(&["limits", "list"]).out;
    assert!(text.lines().any(|it| it.starts_with(KEY) && it.contains(" + 3 parked")), "{text}");

    let jobs = ids.map(|id| site.json(&["why", id]));
    let mut ahead: Vec<u64> = jobs.iter().filter_map(|it| it["pending"]["ahead"].as_u64()).collect();
    ahead.sort_unstable();
    assert_eq!(ahead, [0, 1, 2]);
    let last = jobs.iter().find(|it| it["pending"]["ahead"] == 2).unwrap();
    assert_eq!((&last["pending"]["limit_key"], &last["until"]["estimated"]), (&KEY.into(), &true.into()));
    let said = site.run(&["why", last["id"].as_str().unwrap()]);
    let sentence =
        format!("tenant_limit: a limit of the tenant is used up ({KEY}), 2 go before it, likely until 2");
    assert!(said.out.contains(&sentence), "{}", said.out);

    let said = site.run(&["limits", "reset", "tenant:acme"]);
    assert_eq!((said.code, said.out.as_str()), (0, "tenant:acme/per:h: 2/h -> no limit\n"), "{said:?}");
    site.wait_for(&["status"], |it| it["jobs"]["accepted"] == 5);
    assert_eq!(service.terminate(), 0);
}

#[test]
fn a_configured_limit_is_set_and_reset() {
    let site = Site::new(CONFIG);
    drop(site.run(&["migrate"]));
    let set = |key: &str, limit: &str| site.json(&["limits", "set", key, limit]);
    let changed = set("esp:sandbox", "50/s burst 80");
    assert_eq!(
        (&changed["key"], &changed["before"]),
        (&"esp:sandbox/per:s".into(), &"100/s".into()),
        "{changed}"
    );
    assert_eq!(changed["after"], "50/s burst 80");
    assert_eq!(set("esp:sandbox/per:s", "20/s")["before"], "50/s burst 80");
    let reset = site.json(&["limits", "reset", "esp:sandbox/per:s"]);
    assert_eq!((&reset["before"], &reset["after"]), (&"20/s".into(), &"100/s".into()));
    let said = site.run_as(&["limits", "set", "esp:sandbox", "10/s", "--format", "json"], &[]);
    assert_eq!(said.json()["by"], "unknown");
    assert!(site.run(&["limits", "list"]).out.contains("configured 100/s"));
}

#[test]
fn what_cannot_be_set_says_what_to_mend() {
    let site = Site::new(CONFIG);
    drop(site.run(&["migrate"]));
    for (args, code, told) in [
        (&["set", "esp:sandbox", "100 a second"][..], 2, &["<LIMIT>", "write it like"][..]),
        (&["set", "esp:sandbox", "0/s"], 2, &["<LIMIT>", "a limit of zero"]),
        (&["set", "planet:mars", "1/s"], 2, &["KEY: \"planet:mars\"", "esp:NAME"]),
        (&["set", "esp:sandbox/per:week", "1/s"], 2, &["KEY: ", "per:week"]),
        (&["set", "esp:sandbox/per:s", "1/h"], 2, &["KEY: ", "per s", "per h"]),
        (&["set", "esp:sandbox/warm-up", "1/day"], 2, &["KEY: ", "warm-up"]),
        (&["set", "tenant:acme", "3 connections"], 2, &["KEY: ", "connections"]),
        (&["set", "esp:nope", "1/s"], 1, &["KEY: ", "no ESP `nope`", "sandbox, spare"]),
        (&["set", "group:nope", "1/s"], 1, &["KEY: ", "no domain group `nope`", "gmail"]),
        (&["set", "domain:gmail.com", "1/s"], 1, &["KEY: ", "group:gmail"]),
        (&["reset", "esp:sandbox"], 1, &["KEY: ", "was not set"]),
        (&["set", "esp:sandbox"], 2, &["<LIMIT>"]),
    ] {
        let said = site.run(&[&["limits"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {said:?}");
        for part in told {
            assert!(said.err.contains(part), "{args:?}: {part}: {}", said.err);
        }
    }
    let listed = site.json(&["limits", "list"]);
    assert!(listed["limits"].as_array().unwrap().iter().all(|it| it["edited_by"].is_null()), "{listed}");
}

#[test]
fn without_limits_it_says_so() {
    let site = Site::new("");
    drop(site.run(&["migrate"]));
    let Said { code, out, err } = site.run(&["limits", "list"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no limits"), "{err}");
    assert_eq!(site.json(&["limits", "list"])["limits"], serde_json::json!([]));
}
