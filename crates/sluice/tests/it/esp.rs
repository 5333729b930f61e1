//! `sluice esp`, beside a service that runs.

use serde_json::Value;

use crate::site::Site;

/// One call at a time, and each takes a while: other jobs wait in memory or in the lane when the ESP is shut off.
const ONE_AT_A_TIME: &str = r#"
[worker]
hold_max = "20s"
[[esp]]
name = "sandbox"
kind = "sandbox"
max_in_flight = 1
sandbox = { latency = "2s" }
"#;

#[test]
fn a_breaker_that_is_held_open_stops_an_esp_until_auto() {
    let site = Site::new(ONE_AT_A_TIME);
    let service = site.start();
    let ids = ["a", "b", "c", "d"];
    site.enqueue(&ids, None);
    site.wait_for(&["status"], |it| it["jobs"]["sending"] == 1);
    let said = site.run(&["esp", "open", "sandbox"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out, "sandbox: held open until `sluice esp auto sandbox`\n");
    let listed = site.json(&["esp", "list"]);
    let breaker = &listed[0]["breaker"];
    assert_eq!((&breaker["state"], &breaker["forced"]), (&"open".into(), &"open".into()), "{listed}");
    let text = site.run(&["esp", "list"]).out;
    assert!(text.contains("sandbox  open     open"), "{text}");

    site.wait_for(&["status"], |it| it["pending"]["breaker_open"].as_u64() >= Some(1));
    // Those that still lie in the lane are not known by name.
    let jobs = ids.map(|id| site.run(&["why", id, "--format", "json"]).json());
    let job = jobs.iter().find(|it| it["pending"]["reason"] == "breaker_open").unwrap();
    assert_eq!(job["attempts"], 0, "waiting is not an attempt: {job}");
    let said = site.run(&["why", job["id"].as_str().unwrap()]);
    assert!(
        said.out.contains("breaker_open: every ESP of the pool is being left alone, until 2"),
        "{}",
        said.out
    );
    site.enqueue(&["late"], None);
    let status = site.json(&["status"]);
    let ready = |it: &Value| it["lane"] == "default.transactional.gmail" && it["ready"].as_u64() >= Some(1);
    assert!(status["lanes"].as_array().unwrap().iter().any(ready), "{status}");

    let said = site.run(&["esp", "auto", "sandbox"]);
    assert_eq!((said.code, said.out.as_str()), (0, "sandbox: decides itself\n"), "{said:?}");
    // Those that were parked are looked at again within half a minute.
    site.wait_for(&["status"], |it| it["jobs"]["accepted"] == 5);
    assert_eq!(service.terminate(), 0);
}

#[test]
fn an_esp_that_is_not_there_is_told_from_those_that_are() {
    let site = Site::new(
        "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n[[esp]]\nname = \"spare\"\nkind = \"sandbox\"\n",
    );
    drop(site.run(&["migrate"]));
    for order in ["open", "close", "auto"] {
        let said = site.run(&["esp", order, "mian"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(
            said.err.contains("NAME: no ESP `mian` is configured; there are: main, spare"),
            "{}",
            said.err
        );
    }
    assert_eq!(site.json(&["esp", "close", "main"])["forced"], "closed");
    let listed = site.json(&["esp", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["breaker"]["forced"]), (&"main".into(), &"closed".into()));
    assert_eq!(listed.as_array().unwrap().len(), 2);
}
