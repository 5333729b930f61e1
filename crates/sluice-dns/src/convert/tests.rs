use hickory_resolver::proto::rr::rdata::{CNAME, MX};

use super::*;

fn name(text: &str) -> Name {
    Name::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)).unwrap()
}

fn mx(owner: &str, ttl: u32, preference: u16, host: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::MX(MX::new(preference, name(host))))
}

fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn found(hosts: &[&str], ttl: u64) -> Finding {
    Finding::Found(hosts.iter().map(|host| String::from(*host)).collect(), Duration::from_secs(ttl))
}

fn check(records: &[Record], expected: &Finding) {
    assert_eq!(exchanges(&name("example.com."), records), *expected, "{records:?}");
}

#[test]
fn hosts_are_in_order_of_preference_each_once() {
    check(
        &[
            mx("example.com.", 300, 20, "Backup.Example.NET."),
            mx("EXAMPLE.com.", 200, 10, "mx2.example.net."),
            mx("example.com.", 400, 10, "MX1.example.net."),
            mx("example.com.", 400, 30, "mx1.EXAMPLE.net."),
        ],
        &found(&["mx1.example.net", "mx2.example.net", "backup.example.net"], 200),
    );
}

#[test]
fn aliases_are_followed_to_their_end() {
    check(
        &[
            alias("example.com.", 50, "a.example."),
            alias("a.example.", 40, "b.example."),
            mx("b.example.", 300, 10, "mx.example.net."),
            mx("a.example.", 10, 5, "wrong.example.net."),
        ],
        &found(&["mx.example.net"], 40),
    );
    let circle = [alias("example.com.", 50, "a.example."), alias("a.example.", 40, "example.com.")];
    check(&circle, &Finding::Unclear);
}

#[test]
fn a_root_exchange_says_that_there_is_none() {
    check(&[mx("example.com.", 300, 0, ".")], &Finding::Absent(Some(Duration::from_secs(300))));
    let beside = [mx("example.com.", 300, 0, "."), mx("example.com.", 300, 10, "mx.example.net.")];
    check(&beside, &found(&["mx.example.net"], 300));
}

#[test]
fn records_of_other_names_and_hosts_that_are_none_do_not_count() {
    check(&[], &Finding::Unclear);
    check(&[mx("example.org.", 300, 10, "mx.example.net.")], &Finding::Unclear);
    check(&[mx("example.com.", 300, 10, "m\0x.example.net.")], &Finding::Unclear);
    let one_usable = [mx("example.com.", 300, 1, "m x."), mx("example.com.", 300, 10, "mx.example.net.")];
    check(&one_usable, &found(&["mx.example.net"], 300));
}

#[test]
fn only_the_most_preferred_hosts_are_kept() {
    let records: Vec<Record> = (0..5_000_u16)
        .rev()
        .map(|number| mx("example.com.", 300, number, &format!("mx{number}.example.net.")))
        .collect();
    let Finding::Found(hosts, _) = exchanges(&name("example.com."), &records) else { panic!("hosts") };
    assert_eq!(hosts.len(), HOSTS_MAX);
    assert_eq!(hosts.first().map(String::as_str), Some("mx0.example.net"));
    assert_eq!(hosts.last().map(String::as_str), Some("mx19.example.net"));
}

#[test]
fn failures_are_told_from_silence() {
    let domain = name("example.com.");
    let check = |error: NetError, expected: Finding| {
        let shown = format!("{error:?}");
        assert_eq!(finding(&domain, Err(error)), expected, "{shown}");
    };
    check(NetError::Timeout, Finding::NotAnswered);
    check(NetError::NoConnections, Finding::NotAnswered);
    check(std::io::Error::from(std::io::ErrorKind::NetworkUnreachable).into(), Finding::NotAnswered);
    check(NetError::Truncated, Finding::Unclear);
    check(NetError::Message("anything"), Finding::Unclear);
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        check(DnsError::ResponseCode(code).into(), Finding::Unclear);
    }
}
