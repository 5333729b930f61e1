//! Answers that are wrong, huge or no answers at all.

use std::time::Duration;

use futures_util::future::join_all;
use sluice_engine::MxAnswer;

use crate::name_server::Reply;
use crate::rig::{AMPLE, Rig, SHORT, hosts, one_host};
use crate::wire::{Message, mx, name};

fn message(answers: Vec<Vec<u8>>) -> Message {
    Message { answers, ..Message::default() }
}

#[tokio::test]
async fn garbage_leaves_the_domain_unknown() {
    let rig = Rig::new(SHORT).await;
    // The header of an answer with one record, and behind it a name that points at itself.
    let circle = [vec![0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 15, 0, 1], vec![0xc0, 12]].concat();
    for reply in [
        Reply::Raw(vec![0xff; 60]),
        Reply::Raw(vec![0; 60]),
        Reply::Raw(vec![]),
        Reply::Raw(circle),
        Reply::RawWithoutId(vec![]),
        Reply::RawWithoutId(vec![0x13]),
        Reply::RawWithoutId(vec![0x13; 2000]),
        Reply::OtherQuestion(one_host("other.example", 300)),
        Reply::Message(Message { truncated: true, ..one_host("garbage.example", 300) }),
    ] {
        rig.server.set("garbage.example", reply);
        assert_eq!(rig.ask("garbage.example").await, MxAnswer::NotKnown);
        rig.clock.turn(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn cut_answers_leave_the_domain_unknown() {
    let rig = Rig::new(AMPLE).await;
    let section = [name("cut.example"), vec![0, 15, 0, 1]].concat();
    let whole = one_host("cut.example", 300).encode(0, &section)[2..].to_vec();
    for length in 12 + section.len()..whole.len() {
        rig.server.set("cut.example", Reply::Raw(whole[..length].to_vec()));
        assert_eq!(rig.ask("cut.example").await, MxAnswer::NotKnown, "{length}");
        rig.clock.turn(Duration::from_secs(30));
    }
    rig.server.set("cut.example", Reply::Raw(whole));
    assert_eq!(rig.ask("cut.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn records_of_other_domains_are_left_out() {
    let rig = Rig::new(AMPLE).await;
    let mixed =
        vec![mx("evil.example", 300, 1, "evil.example.net"), mx("a.example", 300, 2, "mx.example.net")];
    rig.server.set("a.example", Reply::Message(message(mixed)));
    rig.server.set("b.example", Reply::Message(one_host("evil.example", 300)));
    assert_eq!(rig.ask("a.example").await, hosts(&["mx.example.net"]));
    assert_eq!(rig.ask("b.example").await, hosts(&[]), "no exchange of its own is in the answer");
}

#[tokio::test]
async fn hosts_that_are_no_host_names_are_left_out() {
    let rig = Rig::new(AMPLE).await;
    let (label, end) = ("x".repeat(63), "y".repeat(60));
    let longest = [label.as_str(), &label, &label, &end].join(".");
    let answers = vec![
        mx("a.example", 300, 1, "m x.example"),
        mx("a.example", 300, 2, "m\u{0}\u{1b}x.example"),
        mx("a.example", 300, 3, &longest),
    ];
    rig.server.set("a.example", Reply::Message(message(answers)));
    assert_eq!(rig.ask("a.example").await, hosts(&[&longest]));
}

#[tokio::test]
async fn of_a_huge_answer_only_the_most_preferred_hosts_are_kept() {
    let rig = Rig::new(AMPLE).await;
    let huge =
        (0..1500).rev().map(|number| mx("huge.example", 300, number, &format!("mx{number:04}.example")));
    rig.server.set("huge.example", Reply::ByTcp(message(huge.collect())));
    let kept: Vec<String> = (0..20).map(|number| format!("mx{number:04}.example")).collect();
    assert_eq!(rig.ask("huge.example").await, MxAnswer::Hosts(kept.into()));
}

#[tokio::test]
async fn answers_with_bytes_turned_never_break_the_resolver() {
    let rig = Rig::new(2 * SHORT).await;
    let mut chance = fastrand::Rng::with_seed(7);
    let domains: Vec<String> = (0..240).map(|number| format!("turned{number}.example")).collect();
    for domain in &domains {
        let section = [name(domain), vec![0, 15, 0, 1]].concat();
        let answers =
            (0..chance.u16(1..30)).map(|number| mx(domain, 300, number, "mx.example.net")).collect();
        let mut bytes = message(answers).encode(0, &section)[2..].to_vec();
        for _ in 0..chance.usize(1..8) {
            let at = chance.usize(..bytes.len());
            bytes[at] = chance.u8(..);
        }
        rig.server.set(domain, Reply::Raw(bytes));
    }
    for some in domains.chunks(60) {
        // So that a round in which nothing could be read does not keep the next from asking.
        rig.server.set("good.example", Reply::Message(one_host("good.example", 60)));
        rig.clock.turn(Duration::from_secs(60));
        assert_eq!(rig.ask("good.example").await, hosts(&["mx.example.net"]));
        for answer in join_all(some.iter().map(|domain| rig.ask(domain))).await {
            if let MxAnswer::Hosts(hosts) = answer {
                assert!(hosts.len() <= 20);
                assert!(hosts.iter().all(|host| host.len() <= 255 && *host == host.to_ascii_lowercase()));
            }
        }
    }
}
