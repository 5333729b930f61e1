//! What a name server's answers come to.

use sluice_engine::MxAnswer;

use crate::name_server::Reply;
use crate::rig::{AMPLE, Rig, failure, hosts, no_such_domain, one_host};
use crate::wire::{Message, cname, mx, soa};

#[tokio::test]
async fn hosts_come_in_order_of_preference_and_in_lower_case() {
    let rig = Rig::new(AMPLE).await;
    let answers = vec![
        mx("example.com", 300, 30, "Backup.Example.NET"),
        mx("example.com", 300, 5, "MX2.example.net"),
        mx("Example.Com", 300, 5, "mx1.example.net"),
    ];
    rig.server.set("example.com", Reply::Message(Message { answers, ..Message::default() }));
    let expected = hosts(&["mx1.example.net", "mx2.example.net", "backup.example.net"]);
    assert_eq!(rig.ask("example.com").await, expected);
    assert_eq!(rig.ask("EXAMPLE.com.").await, expected);
    assert_eq!(rig.server.queries(), 1);
}

#[tokio::test]
async fn a_domain_without_exchanges_has_an_empty_list() {
    let rig = Rig::new(AMPLE).await;
    let empty = Message { authorities: vec![soa("example", 300)], ..Message::default() };
    let none = Message { answers: vec![mx("null.example", 300, 0, ".")], ..Message::default() };
    rig.server.set("unknown.example", no_such_domain(300));
    rig.server.set("empty.example", Reply::Message(empty));
    rig.server.set("null.example", Reply::Message(none));
    for domain in ["unknown.example", "empty.example", "null.example"] {
        assert_eq!(rig.ask(domain).await, hosts(&[]), "{domain}");
    }
    assert_eq!(rig.server.queries(), 3);
}

#[tokio::test]
async fn aliases_are_followed_within_an_answer_and_beyond_it() {
    let rig = Rig::new(AMPLE).await;
    let whole =
        vec![cname("whole.example", 300, "target.example"), mx("target.example", 300, 1, "a.example")];
    rig.server.set("whole.example", Reply::Message(Message { answers: whole, ..Message::default() }));
    let part = vec![cname("part.example", 300, "there.example")];
    rig.server.set("part.example", Reply::Message(Message { answers: part, ..Message::default() }));
    rig.server.set("there.example", Reply::Message(one_host("there.example", 300)));
    assert_eq!(rig.ask("whole.example").await, hosts(&["a.example"]));
    assert_eq!(rig.ask("part.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
    let rig = Rig::new(AMPLE).await;
    rig.server.set("long.example", Reply::ByTcp(one_host("long.example", 300)));
    assert_eq!(rig.ask("long.example").await, hosts(&["mx.example.net"]));
}

#[tokio::test]
async fn refusals_and_failures_leave_the_domain_unknown() {
    let rig = Rig::new(AMPLE).await;
    for code in [1, 2, 4, 5] {
        let domain = format!("failed{code}.example");
        rig.server.set(&domain, failure(code));
        assert_eq!(rig.ask(&domain).await, MxAnswer::NotKnown, "{code}");
    }
    assert_eq!(rig.server.queries(), 4);
    // A busy machine may make the client send one again, but not each.
    assert!(rig.server.received() < 8, "a failure is not asked for again within a lookup");
}

#[tokio::test]
async fn what_cannot_be_a_domain_is_not_asked_for() {
    let rig = Rig::new(AMPLE).await;
    for text in ["", ".", "a..b", "[192.0.2.1]", "a b.example", &"a.".repeat(200)] {
        assert_eq!(rig.ask(text).await, MxAnswer::NotKnown, "{text}");
    }
    assert_eq!(rig.server.queries(), 0);
}
