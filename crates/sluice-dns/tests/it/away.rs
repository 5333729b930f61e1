//! Name servers that do not answer at all.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use sluice_engine::MxAnswer;

use crate::name_server::Reply;
use crate::rig::{Rig, SHORT, failure, hosts, one_host};

const PERIOD: Duration = Duration::from_secs(10);

/// Asks for so many new domains, one after the other, of which none is answered, nor whether anybody is there.
async fn time_out(rig: &Rig, lookups: usize) {
    let before = rig.server.queries();
    for number in before..before + lookups {
        assert_eq!(rig.ask(&format!("silent{number}.example")).await, MxAnswer::NotKnown);
        rig.is_settled().await;
    }
    assert_eq!(rig.server.queries() - before, lookups);
}

/// Whether new domains are answered without asking anybody.
fn is_away(rig: &Rig) -> bool {
    let before = rig.server.queries();
    let answers = (0..20)
        .all(|number| rig.ask(&format!("new{number}.example")).now_or_never() == Some(MxAnswer::NotKnown));
    answers && rig.server.queries() == before
}

#[tokio::test]
async fn after_five_timeouts_new_domains_are_unknown_at_once() {
    let rig = Rig::new(SHORT).await;
    rig.server.set("known.example", Reply::Message(one_host("known.example", 300)));
    assert_eq!(rig.ask("known.example").await, hosts(&["mx.example.net"]));
    time_out(&rig, 5).await;
    assert!(is_away(&rig));
    assert_eq!(rig.ask("known.example").await, hosts(&["mx.example.net"]), "what is remembered still holds");
    tokio::time::sleep(SHORT).await;
    assert_eq!(rig.server.queries(), 6, "nothing was asked in the background");
}

#[tokio::test]
async fn while_away_one_lookup_is_tried_in_each_period() {
    let rig = Rig::new(SHORT).await;
    time_out(&rig, 5).await;
    for _ in 0..3 {
        assert!(is_away(&rig));
        rig.clock.turn(PERIOD);
        time_out(&rig, 1).await;
    }
    assert!(is_away(&rig));
    rig.clock.turn(PERIOD);
    rig.server.set("back.example", Reply::Message(one_host("back.example", 300)));
    rig.server.set("also.example", Reply::Message(one_host("also.example", 300)));
    assert_eq!(rig.ask("back.example").await, hosts(&["mx.example.net"]));
    assert_eq!(rig.ask("also.example").await, hosts(&["mx.example.net"]), "one answer is enough");
}

#[tokio::test]
async fn an_answer_between_timeouts_starts_the_count_again() {
    let rig = Rig::new(SHORT).await;
    rig.server.set("known.example", Reply::Message(one_host("known.example", 300)));
    time_out(&rig, 4).await;
    assert_eq!(rig.ask("known.example").await, hosts(&["mx.example.net"]));
    time_out(&rig, 4).await;
    rig.server.set("new.example", Reply::Message(one_host("new.example", 300)));
    assert_eq!(rig.ask("new.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn failures_that_are_answered_do_not_count() {
    let rig = Rig::new(Duration::from_secs(20)).await;
    rig.server.set_for_others(failure(2));
    for number in 0..20 {
        assert_eq!(rig.ask(&format!("failed{number}.example")).await, MxAnswer::NotKnown);
    }
    assert_eq!(rig.server.queries(), 20);
}

#[tokio::test]
async fn a_single_silent_domain_does_not_make_the_name_servers_count_as_away() {
    let rig = Rig::new(SHORT).await;
    for _ in 0..20 {
        assert_eq!(rig.ask("silent.example").await, MxAnswer::NotKnown);
    }
    rig.server.set("known.example", Reply::Message(one_host("known.example", 300)));
    assert_eq!(rig.ask("known.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn domains_whose_own_name_servers_are_dead_do_not_make_ours_count_as_away() {
    let rig = Rig::new(SHORT).await;
    rig.server.set("", failure(0));
    time_out(&rig, 6).await;
    let dead: Vec<String> = (0..20).map(|number| format!("dead{number}.example")).collect();
    let answers = join_all(dead.iter().map(|domain| rig.ask(domain))).await;
    assert!(answers.iter().all(|answer| *answer == MxAnswer::NotKnown), "{answers:?}");
    rig.is_settled().await;
    rig.server.set("new.example", Reply::Message(one_host("new.example", 300)));
    assert_eq!(rig.ask("new.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn name_servers_that_are_back_are_found_so_by_a_domain_that_is_dead() {
    let rig = Rig::new(SHORT).await;
    time_out(&rig, 5).await;
    assert!(is_away(&rig));
    rig.clock.turn(PERIOD);
    rig.server.set("", failure(0));
    time_out(&rig, 1).await;
    rig.server.set("back.example", Reply::Message(one_host("back.example", 300)));
    assert_eq!(rig.ask("back.example").await, hosts(&["mx.example.net"]));
}
