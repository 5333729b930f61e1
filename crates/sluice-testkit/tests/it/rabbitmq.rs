//! A private RabbitMQ keeps what it confirmed, through every way to go down; and pika reaches it.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_testkit::peers::{PikaSummary, PublishSummary, publish_jobs, publish_jobs_with_pika, python};
use sluice_testkit::services::{PrivateRabbitMq, shared_rabbitmq};

const DECLARE: &str = "
import pika, sys
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.exchange_declare('sluice.jobs', 'topic', durable=True)
channel.queue_declare('lane', durable=True, arguments={'x-queue-type': 'quorum'})
channel.queue_bind('lane', 'sluice.jobs', 'default.#')
connection.close()
";

/// A quorum queue `lane` bound to `sluice.jobs`.
fn declare_lane(url: &str) {
    let status = Command::new(python()).args(["-c", DECLARE, url]).status().expect("Python can be run");
    assert!(status.success());
}

/// Publishes `count` messages that are routed.
fn publish(url: &str, count: u64) {
    let line = json!({"routing_key": "default.bulk.gmail.com", "body": {"v": 1, "id": "x"}});
    let lines = vec![line; usize::try_from(count).expect("a small number")];
    assert_eq!(publish_jobs_with_pika(url, &lines), PikaSummary { confirmed: count, returned: 0, nacked: 0 });
}

/// Waits until `lane` holds `ready` messages and none is out.
fn wait_for_depth(broker: &PrivateRabbitMq, url: &str, ready: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let depths = broker.queue_depths(url);
        if depths.get("lane") == Some(&(ready, 0)) {
            return;
        }
        assert!(Instant::now() < deadline, "not {ready} in the lane: {depths:?}");
    }
}

/// Those of the quorum queues, as Erlang writes lists.
fn log_files(broker: &PrivateRabbitMq) -> String {
    const LIST: &str = "#{wal_data_dir := Dir} = ra_system:fetch(quorum_queues), \
        lists:sort(filelib:wildcard(filename:join(Dir, \"*.wal\"))).";
    broker.rabbitmqctl(&["eval", LIST])
}

#[test]
fn confirmed_messages_outlive_a_crash_and_a_restart() {
    let broker = PrivateRabbitMq::start();
    let url = broker.create_vhost();
    declare_lane(&url);
    publish(&url, 3);
    wait_for_depth(&broker, &url, 3);
    broker.kill9();
    assert!(TcpStream::connect(("127.0.0.1", broker.port())).is_err());
    broker.restart();
    assert_eq!(broker.queue_depths(&url).get("lane"), Some(&(3, 0)), "never listed as empty");
    publish(&url, 2);
    let logs = log_files(&broker);
    broker.begin_new_log();
    let deadline = Instant::now() + Duration::from_secs(20);
    while log_files(&broker) == logs {
        assert!(Instant::now() < deadline, "still only {logs}");
    }
    broker.restart();
    wait_for_depth(&broker, &url, 5);
    broker.delete_queue(&url, "lane");
    assert!(broker.queue_depths(&url).is_empty());
}

#[test]
fn a_paused_broker_takes_connections_and_says_nothing() {
    use std::io::{ErrorKind, Read, Write};
    let broker = PrivateRabbitMq::start();
    broker.pause();
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port())).unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut first = [0; 1];
    let silence = stream.read_exact(&mut first).unwrap_err().kind();
    assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    broker.resume();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_exact(&mut first).unwrap();
    // A method frame: connection.start.
    assert_eq!(first, [1]);
}

#[test]
fn vhosts_are_apart_and_unroutable_messages_come_back() {
    let broker = shared_rabbitmq();
    let (one, other) = (broker.create_vhost(), broker.create_vhost());
    assert_ne!(one, other);
    declare_lane(&one);
    let lines = [
        json!({"routing_key": "default.bulk.gmail.com", "raw": "not json"}),
        json!({"routing_key": "nowhere", "raw_b64": "AAEC", "properties": {"content_type": "x/y"}}),
    ];
    assert_eq!(publish_jobs_with_pika(&one, &lines), PikaSummary { confirmed: 1, returned: 1, nacked: 0 });
    wait_for_depth(broker, &one, 1);
    assert!(broker.queue_depths(&other).is_empty());
    broker.delete_vhost(&one);
    let left = broker.rabbitmqctl(&["list_vhosts", "--quiet"]);
    let is_left = |url: &str| left.lines().any(|name| url.ends_with(&format!("/{name}")));
    assert!(!is_left(&one) && is_left(&other), "{left}");
}

#[tokio::test]
async fn a_large_backlog_is_confirmed_to_the_last_message_and_returned_ones_are_told() {
    let broker = shared_rabbitmq();
    let url = broker.create_vhost();
    declare_lane(&url);
    let line =
        |key: &str, i: usize| json!({"routing_key": key, "body": {"v": 1, "id": format!("{key}-{i}")}});
    let mut lines: Vec<_> = (0..9_000).map(|i| line("default.bulk.gmail.com", i)).collect();
    lines.extend((0..30).map(|i| line("nowhere", i)));
    let summary = publish_jobs(&url, &lines);
    assert_eq!(summary, PublishSummary { confirmed: 9_000, returned: 30, nacked: 0 });
    wait_for_depth(broker, &url, 9_000);
}
