//! A company's domain is hosted by a provider, as its mail exchangers tell: its jobs share the provider's limit.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sluice_testkit::peers::busiest_window;

use crate::support::{Options, Rig, job, line, until};

const EACH: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_they_get_no_more_than_the_provider_allows() {
    let more = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        mx = ["mail.icloud.example"]
        limits = ["10/s"]
    "#;
    let options = Options { more: more.to_owned(), name_server: Some(name_server()), ..Options::default() };
    let rig = Rig::new(Options { alone: true, ..options });
    let replicas = rig.start(2);
    let domains = ["icloud.com", "hosted.example", "elsewhere.example"];
    let jobs: Vec<_> = (0..EACH)
        .flat_map(|i| domains.map(|to| job(&format!("{to}-{i}"), "default", &format!("u{i}@{to}"))))
        .collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let sent = |domain: &str| rig.sendgrid.accepted_at(|to| to.ends_with(domain)).len();
    until("who is not hosted there has gone", async || sent("elsewhere.example") == EACH).await;
    let meanwhile = sent("icloud.com") + sent("hosted.example");
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&jobs.len()));
    let provider = rig.written_at("grid", &["icloud.com", "hosted.example"]).await;
    let busiest = busiest_window(provider, Duration::from_secs(1));
    eprintln!(
        "busiest second of the provider: {busiest}; {meanwhile} of its jobs went before the last of the others"
    );
    assert!(busiest <= 10, "{busiest} in one second");
    assert!(busiest >= 5, "only {busiest} in any second: the limit is hardly used");
    assert!(meanwhile < 2 * EACH, "nothing waited");
    drop(replicas);
}

/// A name server on the loopback (RFC 1035 section 4): `hosted.example` is with the provider, all others with another.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            let query = &packet[..length];
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let host = if query.windows(6).any(|label| label == b"hosted") {
                "mx01.mail.icloud.example"
            } else {
                "mx.elsewhere.example"
            };
            let mut exchange = vec![0, 10];
            for label in host.split('.') {
                exchange.push(u8::try_from(label.len()).unwrap());
                exchange.extend(label.as_bytes());
            }
            exchange.push(0);
            let mut answer = query[..2].to_vec();
            // A response with one question and one answer; its owner is the name at 12; MX, IN, a minute.
            answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            answer.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, u8::try_from(exchange.len()).unwrap()]);
            answer.extend(exchange);
            socket.send_to(&answer, peer).unwrap();
        }
    });
    address
}
