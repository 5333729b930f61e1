//! Publishes a load with confirms, through whatever happens: a message counts only when it is confirmed and was not
//! returned, or when `POST /jobs` answered that it is queued. What is in doubt is published again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::Value;

use crate::fleet::Fleet;
use crate::load::{Kind, Load, Message};

/// Messages that wait for their confirm.
const WINDOW: usize = 250;
/// Jobs of one `POST /jobs`.
const LIST: usize = 40;
/// Each so manieth window goes over HTTP.
const HTTP_EVERY: u64 = 8;
/// One job of a hundred is published twice for no reason.
const TWICE_PERCENT: u32 = 1;
/// Longest wait for the broker; a memory alarm blocks longer than this, and then the window is published again.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(20);
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
const PACE_STEP: Duration = Duration::from_millis(20);

/// What a publisher was told.
#[derive(Debug)]
pub(crate) struct Told {
    /// By message number: whether it was confirmed, or answered `queued`.
    pub(crate) acknowledged: Vec<bool>,
    /// How many messages were published more than once.
    pub(crate) again: u64,
    /// How many were taken over HTTP.
    pub(crate) over_http: u64,
}

/// What to publish, where and how fast.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) url: String,
    pub(crate) load: Load,
    /// Messages a second. Time lost in an outage is made up for.
    pub(crate) rate: f64,
    /// No new try after this long.
    pub(crate) patience: Duration,
    pub(crate) fleet: Arc<Fleet>,
}

impl Publisher {
    /// Publishes everything, or as much as `patience` allows.
    pub(crate) async fn run(self) -> Told {
        let mut told = Told { acknowledged: vec![false; self.load.count], again: 0, over_http: 0 };
        let mut rng = fastrand::Rng::with_seed(self.load.seed);
        let begin = Instant::now();
        let mut open: VecDeque<usize> = VecDeque::new();
        let mut fresh = 0;
        let mut windows = 0_u64;
        let mut line: Option<(Connection, Channel)> = None;
        while begin.elapsed() < self.patience {
            let due = due(begin.elapsed(), self.rate).min(self.load.count);
            while fresh < due && open.len() < WINDOW {
                open.push_back(fresh);
                if rng.u32(0..100) < TWICE_PERCENT {
                    open.push_back(fresh);
                }
                fresh += 1;
            }
            if open.is_empty() {
                if fresh >= self.load.count {
                    break;
                }
                tokio::time::sleep(PACE_STEP).await;
                continue;
            }
            windows += 1;
            if windows.is_multiple_of(HTTP_EVERY) {
                self.post(&mut open, &mut told, &mut rng).await;
                continue;
            }
            if line.as_ref().is_none_or(|(_, channel)| !channel.status().connected()) {
                line = connect(&self.url).await;
            }
            let Some((_, channel)) = &line else {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            };
            let batch: Vec<Message> =
                open.drain(..open.len().min(WINDOW)).map(|number| self.load.message(number)).collect();
            let confirmed = window(channel, &batch).await;
            if !confirmed.contains(&true) {
                line = None;
            }
            for (message, confirmed) in batch.iter().zip(confirmed) {
                self.note(message.number, confirmed, &mut open, &mut told);
            }
            tokio::time::sleep(PACE_STEP).await;
        }
        told
    }

    fn note(&self, number: usize, taken: bool, open: &mut VecDeque<usize>, told: &mut Told) {
        if taken {
            if let Some(slot) = told.acknowledged.get_mut(number) {
                *slot = true;
            }
        } else {
            told.again += 1;
            open.push_back(number);
        }
    }

    /// Hands some jobs to a replica. Whatever is not answered `queued` or `duplicate` stays open.
    async fn post(&self, open: &mut VecDeque<usize>, told: &mut Told, rng: &mut fastrand::Rng) {
        let numbers: Vec<usize> = open.drain(..open.len().min(LIST)).collect();
        let messages: Vec<Message> = numbers.iter().map(|number| self.load.message(*number)).collect();
        let (jobs, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|it| it.kind == Kind::Job);
        open.extend(others.iter().map(|it| it.number));
        let answers = match self.fleet.any(rng) {
            Some(replica) if !jobs.is_empty() => {
                let bodies: Vec<String> =
                    jobs.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
                let list = format!("[{}]", bodies.join(","));
                let posted = tokio::task::spawn_blocking(move || replica.post("/jobs", &list)).await;
                posted.ok().and_then(Result::ok).map_or_else(Vec::new, |(_, body)| statuses(&body))
            }
            _ => Vec::new(),
        };
        for (place, job) in jobs.iter().enumerate() {
            let taken = answers.get(place).is_some_and(|it| it == "queued" || it == "duplicate");
            told.over_http += u64::from(taken);
            self.note(job.number, taken, open, told);
        }
    }
}

fn statuses(body: &str) -> Vec<String> {
    let answers: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
    answers.iter().map(|it| it.get("status").and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn due(elapsed: Duration, rate: f64) -> usize {
    (elapsed.as_secs_f64() * rate) as usize
}

async fn connect(url: &str) -> Option<(Connection, Channel)> {
    let open = async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.ok()?;
        let channel = connection.create_channel().await.ok()?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
        Some((connection, channel))
    };
    tokio::time::timeout(CONFIRM_TIMEOUT, open).await.ok().flatten()
}

/// Which of a window the broker has. With one returned message none counts: the client library hands it to any confirm.
async fn window(channel: &Channel, batch: &[Message]) -> Vec<bool> {
    let publish = join_all(batch.iter().map(async |message| {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(message.id.as_str().into());
        let key = message.key.as_str().into();
        let confirm =
            channel.basic_publish("sluice.jobs".into(), key, options, &message.body, properties).await;
        match confirm {
            Ok(confirm) => confirm.await.ok(),
            Err(_) => None,
        }
    }));
    let Ok(confirms) = tokio::time::timeout(CONFIRM_TIMEOUT, publish).await else {
        return vec![false; batch.len()];
    };
    let returned = confirms
        .iter()
        .any(|it| matches!(it, Some(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)))));
    confirms.iter().map(|it| !returned && matches!(it, Some(Confirmation::Ack(None)))).collect()
}
