//! Lookups at the same time.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use sluice_engine::MxAnswer;

use crate::name_server::{Gate, Reply};
use crate::rig::{AMPLE, Rig, SHORT, hosts, one_host};
use crate::wire::{Message, cname};

#[tokio::test]
async fn one_domain_asked_for_many_times_at_once_is_one_query() {
    let rig = Rig::with(AMPLE, |settings| settings.lookups_max = 1).await;
    let gate = Gate::shut();
    rig.server.set("example.com", Reply::Held(gate.clone(), one_host("example.com", 300)));
    let questions = join_all((0..50).map(|_| rig.ask("example.com")));
    // `join!` polls in order: all questions are put before the gate opens.
    let (answers, ()) = tokio::join!(questions, async {
        rig.server.has_been_asked(1).await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| *answer == hosts(&["mx.example.net"])));
    assert_eq!(rig.server.queries(), 1);
}

#[tokio::test]
async fn who_stops_waiting_does_not_end_the_lookup_for_others() {
    let rig = Rig::new(AMPLE).await;
    let gate = Gate::shut();
    rig.server.set("example.com", Reply::Held(gate.clone(), one_host("example.com", 300)));
    assert_eq!(rig.ask("example.com").now_or_never(), None, "asked, and gone");
    let (answer, ()) = tokio::join!(rig.ask("example.com"), async {
        rig.server.has_been_asked(1).await;
        gate.open();
    });
    assert_eq!(answer, hosts(&["mx.example.net"]));
    assert_eq!(rig.server.queries(), 1);
}

#[tokio::test]
async fn so_many_ask_at_a_time_and_the_next_wait_for_their_places() {
    let rig = Rig::with(AMPLE, |settings| settings.lookups_max = 3).await;
    let gate = Gate::shut();
    let domains: Vec<String> = (0..48).map(|number| format!("domain{number}.example")).collect();
    for domain in &domains {
        rig.server.set(domain, Reply::Held(gate.clone(), one_host(domain, 300)));
    }
    let all = join_all(domains.iter().map(|domain| rig.ask(domain)));
    let (answers, ()) = tokio::join!(all, async {
        rig.server.has_been_asked(3).await;
        assert_eq!(
            rig.ask("more.example").now_or_never(),
            Some(MxAnswer::NotKnown),
            "their number is bounded"
        );
        assert_eq!(rig.ask(&domains[0]).now_or_never(), None, "who joins a lookup takes no place");
        assert_eq!(rig.server.queries(), 3);
        gate.open();
    });
    assert!(answers.iter().all(|answer| *answer == hosts(&["mx.example.net"])), "{answers:?}");
    assert_eq!(rig.server.queries(), 48);
}

#[tokio::test]
async fn who_gets_no_place_in_time_is_unknown_for_now_only() {
    let rig = Rig::with(SHORT, |settings| settings.lookups_max = 1).await;
    rig.server.set("next.example", Reply::Message(one_host("next.example", 300)));
    let (silent, next) = tokio::join!(rig.ask("silent.example"), rig.ask("next.example"));
    assert_eq!((silent, next), (MxAnswer::NotKnown, MxAnswer::NotKnown));
    assert_eq!(rig.server.queries(), 1);
    rig.is_settled().await;
    assert_eq!(rig.ask("next.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn a_resolver_without_places_asks_nothing() {
    let rig = Rig::with(AMPLE, |settings| settings.lookups_max = 0).await;
    assert_eq!(rig.ask("example.com").now_or_never(), Some(MxAnswer::NotKnown));
    assert_eq!(rig.server.queries(), 0);
}

#[tokio::test]
async fn a_full_set_of_lookups_is_answered_at_once() {
    let rig = Rig::new(AMPLE).await;
    let domains: Vec<String> = (0..64).map(|number| format!("domain{number}.example")).collect();
    for domain in &domains {
        rig.server.set(domain, Reply::Message(one_host(domain, 300)));
    }
    let answers = join_all(domains.iter().map(|domain| rig.ask(domain))).await;
    assert!(answers.iter().all(|answer| *answer == hosts(&["mx.example.net"])), "{answers:?}");
}

#[tokio::test]
async fn nobody_waits_for_longer_than_the_timeout() {
    let rig = Rig::new(SHORT).await;
    rig.server.set("late.example", Reply::Late(20 * SHORT, one_host("late.example", 300)));
    for domain in ["silent.example", "late.example"] {
        let answer = tokio::time::timeout(5 * SHORT, rig.ask(domain)).await;
        assert_eq!(answer, Ok(MxAnswer::NotKnown), "{domain}");
    }
}

#[tokio::test]
async fn the_timeout_is_for_all_answers_of_a_lookup() {
    let rig = Rig::new(SHORT).await;
    for (domain, target) in [("one.example", "two.example"), ("two.example", "three.example")] {
        let alias = Message { answers: vec![cname(domain, 300, target)], ..Message::default() };
        rig.server.set(domain, Reply::Late(SHORT * 3 / 5, alias));
    }
    rig.server.set("three.example", Reply::Message(one_host("three.example", 300)));
    assert_eq!(rig.ask("one.example").await, MxAnswer::NotKnown);
}

#[tokio::test]
async fn an_answer_that_is_late_but_in_time_counts() {
    let rig = Rig::new(AMPLE).await;
    let late = Reply::Late(Duration::from_millis(500), one_host("late.example", 300));
    rig.server.set("late.example", late);
    assert_eq!(rig.ask("late.example").await, hosts(&["mx.example.net"]));
}
