//! `sluice campaign`, beside a service that runs.

use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn a_paused_campaign_waits_and_goes_on_when_it_is_resumed() {
    let site = Site::new("");
    let service = site.start();
    assert_eq!(site.json(&["campaign", "list"]), json!([]));
    let said = site.run(&["campaign", "pause", "acme", "spring"]);
    assert_eq!((said.code, said.out.as_str()), (0, "paused spring of acme\n"), "{said:?}");
    assert_eq!(
        site.json(&["campaign", "list"]),
        json!([{ "tenant": "acme", "campaign": "spring", "order": "paused" }])
    );
    site.enqueue(&["a", "b"], Some("spring"));
    site.enqueue(&["c"], Some("autumn"));
    site.wait_for_state("c", "accepted");
    for id in ["a", "b"] {
        let job = site.wait_for_reason(id, "campaign_paused");
        assert_eq!((&job["campaign_order"], &job["until"]), (&"paused".into(), &Value::Null), "{job}");
    }
    let said = site.run(&["why", "a"]);
    assert!(said.out.contains("campaign_paused: an operator has paused its campaign"), "{}", said.out);
    assert!(said.out.contains("until `sluice campaign resume`"), "{}", said.out);
    assert!(said.out.contains("spring (paused)"), "{}", said.out);

    let resumed = site.json(&["campaign", "resume", "acme", "spring"]);
    assert_eq!((&resumed["before"], &resumed["order"]), (&"paused".into(), &Value::Null), "{resumed}");
    site.wait_for_state("a", "accepted");
    site.wait_for_state("b", "accepted");
    assert!(site.run(&["campaign", "resume", "acme", "spring"]).out.contains("was not paused"));
    assert_eq!(service.terminate(), 0);
}

#[test]
fn a_cancelled_campaign_is_closed_unsent() {
    let site = Site::new("");
    let service = site.start();
    site.run(&["campaign", "pause", "acme", "spring"]);
    site.enqueue(&["a", "b"], Some("spring"));
    site.wait_for_reason("a", "campaign_paused");
    site.wait_for_reason("b", "campaign_paused");
    // Stdin is no terminal, so it does not ask.
    let said = site.run(&["campaign", "cancel", "acme", "spring"]);
    // How many is left open: a relay of the service, which knows of the order by then, may be first.
    assert!(said.code == 0 && said.out.starts_with("cancelled spring of acme; "), "{said:?}");
    for id in ["a", "b"] {
        assert_eq!(site.wait_for_state(id, "cancelled")["attempts"], 0);
    }
    site.enqueue(&["late"], Some("spring"));
    site.wait_for_state("late", "cancelled");

    let resumed = site.run(&["campaign", "resume", "acme", "spring"]);
    assert!(resumed.err.contains("what was closed stays closed"), "{resumed:?}");
    site.enqueue(&["again"], Some("spring"));
    site.wait_for_state("again", "accepted");
    assert_eq!(site.json(&["why", "a"])["state"], "cancelled");
    assert_eq!(service.terminate(), 0);
}

#[test]
fn what_is_parked_is_counted_and_closed_when_the_service_is_back() {
    let site = Site::new("");
    let service = site.start();
    site.run(&["campaign", "pause", "acme", "spring"]);
    site.enqueue(&["a", "b"], Some("spring"));
    site.wait_for_reason("a", "campaign_paused");
    site.wait_for_reason("b", "campaign_paused");
    assert_eq!(service.terminate(), 0);
    let said = site.run(&["campaign", "cancel", "acme", "spring"]);
    let told = "cancelled spring of acme; 2 parked jobs are being closed\n";
    assert_eq!((said.code, said.out.as_str()), (0, told), "{said:?}");
    let service = site.start();
    for id in ["a", "b"] {
        assert_eq!(site.wait_for_state(id, "cancelled")["attempts"], 0);
    }
    assert_eq!(service.terminate(), 0);
}

#[test]
fn a_name_that_is_none_is_told() {
    let site = Site::new("");
    drop(site.run(&["migrate"]));
    for (args, told) in [
        (&["pause", "a b", "spring"][..], "<TENANT>"),
        (&["cancel", "acme", ""], "<CAMPAIGN>"),
        (&["resume", "acme"], "<CAMPAIGN>"),
    ] {
        let said = site.run(&[&["campaign"], args].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(said.err.contains(told), "{}", said.err);
    }
}
