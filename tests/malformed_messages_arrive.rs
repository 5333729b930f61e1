//! What is no job goes to `sluice.dead` and `dead_letter` with its reason and field; the lane goes on.

use serde_json::{Value, json};
use sluice_testkit::peers::Listener;

use crate::support::{Options, Rig, job, line, until};

fn bad(change: impl FnOnce(&mut Value)) -> Value {
    let mut it = job(&format!("bad-{}", uuid::Uuid::new_v4()), "default", "ada@gmail.com");
    change(&mut it);
    it
}

fn raw(text: String) -> Value {
    json!({"routing_key": "default.bulk.gmail.com", "raw": text})
}

fn keyed(body: Value) -> Value {
    json!({"routing_key": "default.bulk.gmail.com", "body": body})
}

/// Each message with the reason and field that it must be refused for.
fn messages() -> Vec<(Value, &'static str, &'static str)> {
    let deep = format!("{{\"v\":1,\"vars\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = bad(|it| it["text"] = "x".repeat(256 * 1024).into());
    let runaway = "{% for a in n %}{% for b in n %}{% for c in n %}x{% endfor %}{% endfor %}{% endfor %}";
    let many: Vec<u32> = (0..500).collect();
    vec![
        (raw("hello".into()), "not_json", ""),
        (raw("[]".into()), "wrong_type", ""),
        (raw(deep), "not_json", ""),
        (json!({"routing_key": "default.bulk.gmail.com", "raw_b64": "//4="}), "not_utf8", ""),
        (keyed(huge), "too_large", ""),
        (keyed(bad(|it| it["v"] = 2.into())), "unknown_version", "v"),
        (keyed(bad(|it| it["expire_at"] = "x".into())), "unknown_field", "expire_at"),
        (keyed(bad(|it| drop(it.as_object_mut().unwrap().remove("to")))), "missing_field", "to"),
        (keyed(bad(|it| it["subject"] = 5.into())), "wrong_type", "subject"),
        (keyed(bad(|it| it["to"]["email"] = "ada".into())), "invalid_value", "to.email"),
        (
            keyed(bad(|it| it["to"]["email"] = "a\r\nRCPT TO:<x@y.zz>@gmail.com".into())),
            "invalid_value",
            "to.email",
        ),
        (
            keyed(bad(|it| it["to"]["email"] = format!("{}@gmail.com", "x".repeat(65)).into())),
            "invalid_value",
            "to.email",
        ),
        (keyed(bad(|it| it["subject"] = "a\r\nBcc: x@y.zz".into())), "invalid_value", "subject"),
        (keyed(bad(|it| it["from"]["name"] = "a\nb".into())), "invalid_value", "from.name"),
        (keyed(bad(|it| it["headers"] = json!({"X-A": "1\r\nBcc: x@y.zz"}))), "invalid_value", "headers.X-A"),
        (keyed(bad(|it| it["headers"] = json!({"Bcc": "x@y.zz"}))), "invalid_value", "headers.Bcc"),
        (keyed(bad(|it| it["pool"] = "nosuch".into())), "unknown_pool", "pool"),
        (keyed(bad(|it| it["html"] = "{{ nosuch }}".into())), "template", "html"),
        (keyed(bad(|it| it["text"] = "{{ first_name".into())), "template", "text"),
        (keyed(bad(|it| it["vars"] = json!({"first_name": "a\r\nb"}))), "invalid_value", "subject"),
        (
            keyed(bad(|it| {
                it["html"] = runaway.into();
                it["vars"] = json!({"first_name": "Ada", "n": many});
            })),
            "template",
            "html",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_becomes_a_dead_letter_and_the_lane_goes_on() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(1);
    let messages = messages();
    let good: Vec<Value> =
        (0..50).map(|i| job(&format!("good-{i}"), "default", &format!("u{i}@gmail.com"))).collect();
    let mut lines: Vec<Value> = messages.iter().map(|(line, _, _)| line.clone()).collect();
    lines.extend(good.iter().map(line));
    rig.publish(&lines);
    let wanted = i64::try_from(messages.len()).unwrap();
    until("all bad ones are kept", async || {
        rig.count("select count(*) from sluice.dead_letter").await >= wanted
    })
    .await;
    rig.judge(&good, false).await;

    let client = rig.sql().await;
    let rows = client.query("select reason, field from sluice.dead_letter", &[]).await.unwrap();
    let mut found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut expected: Vec<(String, String)> =
        messages.iter().map(|(_, reason, field)| ((*reason).to_owned(), (*field).to_owned())).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let depths = rig.broker().queue_depths(rig.vhost());
    assert_eq!(depths["sluice.dead"].0, u64::try_from(messages.len()).unwrap());
    let log = replicas[0].log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("x@y.zz") && !log.contains("ada@gmail.com"), "an address was logged");
}

/// Whoever reads `sluice.dead` finds the job and the trace that it belongs to, also when its refusal comes after the claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_carries_on_the_id_and_the_trace() {
    let rig = Rig::new(Options::default());
    let _replicas = rig.start(1);
    let first = job("taken", "default", "ada@gmail.com");
    rig.publish(&[line(&first)]);
    rig.judge(std::slice::from_ref(&first), false).await;

    let mut dead = Listener::start(&rig.amqp_url, "sluice.dead", "").await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (mut misspelt, mut another) = (first.clone(), first);
    misspelt["id"] = "misspelt".into();
    misspelt["expire_at"] = "x".into();
    another["subject"] = "Another".into();
    for (body, id) in [(misspelt, "misspelt"), (another, "taken")] {
        let mut traced = keyed(body);
        traced["properties"] = json!({"headers": {"traceparent": trace}});
        rig.publish(&[traced]);
        let mut message = None;
        until("the dead letter is published", async || {
            message = dead.next().await;
            message.is_some()
        })
        .await;
        let properties = message.unwrap().properties;
        assert_eq!(properties.message_id().as_ref().map(|it| it.as_str()), Some(id));
        let headers = properties.headers().clone().unwrap();
        let traceparent = headers.inner()["traceparent"].as_long_string().unwrap();
        assert_eq!(traceparent.as_bytes(), trace.as_bytes(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_properties_and_keys_do_not_matter_the_body_decides() {
    let rig = Rig::new(Options::default());
    let _replicas = rig.start(1);
    let jobs: Vec<Value> =
        (0..6).map(|i| job(&format!("odd-{i}"), "default", &format!("u{i}@gmail.com"))).collect();
    let with = |i: usize, key: &str, properties: Value| json!({"routing_key": key, "body": jobs[i], "properties": properties});
    rig.publish(&[
        with(0, "default.bulk.outlook.com", json!({})),
        with(1, "nosuch.pool.gmail.com", json!({})),
        with(2, "odd", json!({})),
        with(3, "default.bulk.gmail.com", json!({"message_id": null, "delivery_mode": 1})),
        with(4, "default.bulk.gmail.com", json!({"message_id": "other", "content_type": "text/plain"})),
        with(
            5,
            "default.bulk.gmail.com",
            json!({"headers": {"x-sluice-attempt": "many", "x-sluice-resend": 7}}),
        ),
    ]);
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_with_another_body_is_refused_and_the_first_stands() {
    let rig = Rig::new(Options::default());
    let _replicas = rig.start(1);
    let first = job("twice", "default", "ada@gmail.com");
    let mut second = first.clone();
    second["subject"] = "Another".into();
    rig.publish(&[line(&first)]);
    rig.judge(std::slice::from_ref(&first), false).await;
    rig.publish(&[line(&first), line(&second)]);
    until("the conflict is kept", async || {
        rig.count("select count(*) from sluice.dead_letter where reason = 'id_conflict' and field = 'id'")
            .await
            == 1
    })
    .await;
    rig.judge(std::slice::from_ref(&first), false).await;
    assert_eq!(rig.sendgrid.accepted(), 1);
}
