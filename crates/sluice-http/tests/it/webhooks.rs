//! What ESPs report.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;
use sluice_engine::{EspEvent, Events, Landed, LedgerError, Moved, Reading, Webhook, WebhookCall};
use sluice_types::{EspId, EventKind, JobState, Timestamp, WebhookRefusal};

use crate::client::{Answer, get, send};
use crate::fakes::{Mood, Moody, away};
use crate::rig::{Rig, Setup, start, start_with};

/// Keeps what lands; an event whose id is known is a duplicate.
#[derive(Debug)]
pub(crate) struct FakeEvents {
    pub(crate) mood: Moody,
    landed: Mutex<Vec<String>>,
}

impl FakeEvents {
    pub(crate) const fn new() -> Self {
        Self { mood: Moody::new(), landed: Mutex::new(Vec::new()) }
    }
}

#[async_trait]
impl Events for FakeEvents {
    async fn land(&self, esp: &EspId, events: &[EspEvent]) -> Result<Landed, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        let mut known = self.landed.lock().unwrap();
        let mut landed = Landed::default();
        for event in events {
            if known.contains(&event.event_id) {
                landed.duplicates += 1;
                continue;
            }
            landed.fresh += 1;
            known.push(event.event_id.clone());
            let (job, after) = (event.job.clone(), event.kind.state());
            let (esp, domain) = (esp.clone(), "acme.example".to_owned());
            landed.moved.push(Moved { job, esp, domain, before: JobState::Unknown, after });
        }
        Ok(landed)
    }

    async fn apply_due(&self, _: u32) -> Result<Vec<Moved>, LedgerError> {
        Ok(Vec::new())
    }
}

/// Refuses with the word in the header `x-refuse`; else each line of the body but `-` is the id of an event.
#[derive(Debug)]
pub(crate) struct FakeWebhook(EspId);

impl FakeWebhook {
    pub(crate) fn new() -> Self {
        Self("sandbox".parse().unwrap())
    }
}

impl Webhook for FakeWebhook {
    fn esp(&self) -> &EspId {
        &self.0
    }

    fn read(&self, call: &WebhookCall<'_>) -> Result<Reading, WebhookRefusal> {
        if let Some(refusal) = call.header("x-refuse").and_then(WebhookRefusal::from_word) {
            return Err(refusal);
        }
        let text = std::str::from_utf8(call.body).map_err(|_| WebhookRefusal::Malformed)?;
        let (left_out, ids): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| *line == "-");
        let event = |id: &str| EspEvent {
            job: "job-1".parse().unwrap(),
            tenant: Some("acme".parse().unwrap()),
            attempt: None,
            kind: EventKind::Delivered,
            event_id: id.to_owned(),
            provider_message_id: None,
            occurred_at: Timestamp::from_micros(0),
            category: None,
            detail: None,
            suppress: None,
        };
        let events = ids.into_iter().map(event).collect();
        Ok(Reading { events, foreign: left_out.len() as u64, unreadable: 2 })
    }
}

const JSON: &str = "Content-Type: application/json";

async fn post(rig: &Rig, esp: &str, headers: &[&str], body: &str) -> Answer {
    send(rig.addr, "POST", &format!("/webhooks/{esp}"), &[&[JSON], headers].concat(), body).await
}

#[tokio::test]
async fn events_land_and_are_counted() {
    let rig = start().await;
    let answer = post(&rig, "sandbox", &[], "one\ntwo\n-\n").await;
    let expected = json!({"taken": 2, "duplicates": 0, "foreign": 1, "unreadable": 2});
    assert_eq!((answer.status, answer.json()), (200, expected));
    let answer = post(&rig, "sandbox", &[], "two\n").await;
    assert_eq!(answer.json(), json!({"taken": 0, "duplicates": 1, "foreign": 0, "unreadable": 2}));
    let metrics = get(rig.addr, "/metrics").await.body;
    for line in [
        "sluice_events_total{esp=\"sandbox\",kind=\"delivered\"} 3",
        "sluice_event_duplicates_total{esp=\"sandbox\"} 1",
        "sluice_events_left_out_total{esp=\"sandbox\",why=\"foreign\"} 1",
        "sluice_events_left_out_total{esp=\"sandbox\",why=\"unreadable\"} 4",
        "sluice_jobs_total{state=\"delivered\"} 2",
        "sluice_resolved_total{before=\"unknown\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn every_refusal_has_its_answer() {
    let rig = start().await;
    for (refusal, status) in [
        (WebhookRefusal::Unsigned, 403),
        (WebhookRefusal::BadSignature, 403),
        (WebhookRefusal::Stale, 403),
        (WebhookRefusal::Malformed, 400),
        (WebhookRefusal::TooMany, 413),
    ] {
        let answer = post(&rig, "sandbox", &[&format!("X-Refuse: {refusal}")], "one").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, refusal.as_str()));
        let metrics = get(rig.addr, "/metrics").await.body;
        assert!(
            metrics.contains(&format!("sluice_webhooks_refused_total{{reason=\"{refusal}\"}} 1")),
            "{metrics}"
        );
    }
    for esp in ["spare", "nobody", "%ff", "a%2Fb"] {
        let answer = post(&rig, esp, &[], "one").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "no_webhook"), "{esp}");
    }
    let plain = send(rig.addr, "POST", "/webhooks/sandbox", &["Content-Type: text/plain"], "one").await;
    assert_eq!(plain.status, 415);
    assert!(rig.events.landed.lock().unwrap().is_empty(), "nothing of it has landed");
}

#[tokio::test]
async fn an_esp_is_asked_to_try_again_when_the_store_is_away() {
    let rig = start().await;
    rig.events.mood.set(Mood::Away);
    let answer = post(&rig, "sandbox", &[], "one").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_webhook_needs_no_token_and_has_the_bound_of_every_body() {
    let mut setup = Setup::limited(|limits| limits.body_max_bytes = 16);
    setup.access = sluice_http::Access::Tokens(Vec::new().into());
    let rig = start_with(setup).await;
    assert_eq!(post(&rig, "sandbox", &[], "one").await.status, 200);
    assert_eq!(post(&rig, "sandbox", &[], &"x".repeat(17)).await.status, 413);
}
