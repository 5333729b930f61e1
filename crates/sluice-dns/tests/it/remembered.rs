//! What is remembered, for how long, and up to how many domains.

use std::time::Duration;

use sluice_engine::MxAnswer;

use crate::name_server::Reply;
use crate::rig::{AMPLE, Rig, SHORT, failure, hosts, no_such_domain, one_host};
use crate::wire::Message;

const SECOND: Duration = Duration::from_secs(1);

/// Asks for a domain with this reply, and checks that it is asked for again after this many seconds and not before.
async fn check(rig: &Rig, domain: &str, reply: Reply, held_for_s: u32) {
    rig.server.set(domain, reply);
    let before = rig.server.queries();
    let first = rig.ask(domain).await;
    rig.clock.turn(SECOND * (held_for_s - 1));
    assert_eq!(rig.ask(domain).await, first, "{domain}");
    assert_eq!(rig.server.queries() - before, 1, "{domain} is remembered");
    rig.clock.turn(SECOND);
    assert_eq!(rig.ask(domain).await, first, "{domain}");
    assert_eq!(rig.server.queries() - before, 2, "{domain} has expired");
}

#[tokio::test]
async fn a_hundred_questions_are_one_query() {
    let rig = Rig::new(AMPLE).await;
    rig.server.set("example.com", Reply::Message(one_host("example.com", 300)));
    for _ in 0..100 {
        assert_eq!(rig.ask("example.com").await, hosts(&["mx.example.net"]));
    }
    assert_eq!(rig.server.queries(), 1);
}

#[tokio::test]
async fn found_hosts_expire_with_their_ttl_within_bounds() {
    let rig = Rig::new(AMPLE).await;
    for (domain, ttl, held_for_s) in [
        ("usual.example", 300, 300),
        ("none.example", 0, 60),
        ("short.example", 5, 60),
        ("long.example", 7 * 86_400, 3600),
        ("longest.example", u32::MAX, 3600),
    ] {
        check(&rig, domain, Reply::Message(one_host(domain, ttl)), held_for_s).await;
    }
}

#[tokio::test]
async fn that_a_domain_has_no_exchanges_is_remembered() {
    let rig = Rig::new(AMPLE).await;
    for (domain, ttl, held_for_s) in
        [("usual.example", 120, 120), ("short.example", 1, 60), ("long.example", 86_400, 300)]
    {
        check(&rig, domain, no_such_domain(ttl), held_for_s).await;
    }
    let unsaid = Reply::Message(Message { code: 3, ..Message::default() });
    check(&rig, "unsaid.example", unsaid, 60).await;
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_short_time() {
    let rig = Rig::new(AMPLE).await;
    check(&rig, "failed.example", failure(2), 30).await;
    rig.server.set("failed.example", Reply::Message(one_host("failed.example", 300)));
    rig.clock.turn(30 * SECOND);
    assert_eq!(rig.ask("failed.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn what_was_known_is_gone_by_while_no_newer_answer_comes() {
    let rig = Rig::new(SHORT).await;
    let known = hosts(&["mx.example.net"]);
    for domain in ["hosted.example", "seldom.example"] {
        rig.server.set(domain, Reply::Message(one_host(domain, 60)));
        assert_eq!(rig.ask(domain).await, known);
    }
    // Refused once, then silent until the name servers count as away, and for longer than an answer is kept.
    rig.server.set("hosted.example", failure(2));
    rig.clock.turn(60 * SECOND);
    assert_eq!(rig.ask("hosted.example").await, known);
    rig.server.set("hosted.example", Reply::Silence);
    for _ in 0..10 {
        rig.clock.turn(31 * SECOND);
        assert_eq!(rig.ask("hosted.example").await, known);
    }
    // The trial was just made: nobody is asked.
    let before = rig.server.queries();
    assert_eq!((rig.ask("seldom.example").await, rig.server.queries()), (known, before));
    rig.server.set("hosted.example", no_such_domain(60));
    rig.clock.turn(600 * SECOND);
    assert_eq!(rig.ask("hosted.example").await, hosts(&[]));
}

#[tokio::test]
async fn a_domain_whose_lookup_took_too_long_is_not_waited_for_by_every_job() {
    let rig = Rig::new(SHORT).await;
    check(&rig, "slow.example", Reply::Silence, 30).await;
}

#[tokio::test]
async fn the_settings_bound_how_long_answers_are_remembered() {
    let rig = Rig::with(AMPLE, |settings| {
        settings.found_for = 90 * SECOND;
        settings.not_found_for = SECOND;
    })
    .await;
    check(&rig, "found.example", Reply::Message(one_host("found.example", 300)), 90).await;
    check(&rig, "absent.example", no_such_domain(300), 60).await;
}

#[tokio::test]
async fn no_more_domains_are_remembered_than_the_table_holds() {
    let rig = Rig::with(AMPLE, |settings| settings.table_max = 10).await;
    let domain = |number: u32| format!("domain{number}.example");
    for number in 0..40 {
        // Each holds for longer than the one before, so that the earlier ones go.
        rig.server.set(&domain(number), Reply::Message(one_host(&domain(number), 100 + number)));
        assert_eq!(rig.ask(&domain(number)).await, hosts(&["mx.example.net"]));
    }
    assert!(format!("{:?}", rig.resolver).contains("remembered: 10,"), "{:?}", rig.resolver);
    for number in 30..40 {
        assert_ne!(rig.ask(&domain(number)).await, MxAnswer::NotKnown);
    }
    assert_eq!(rig.server.queries(), 40, "the latest are remembered");
    rig.ask(&domain(0)).await;
    assert_eq!(rig.server.queries(), 41, "the first is not");
}
