//! The stand-in itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::answer::{SendGridAnswer, refusal};
use super::call::{self, SendGridCall};
use crate::peers::{HttpAnswer, HttpPeer, HttpRequest};

const API_KEY: &str = "SG.stand-in";
const BODIES_KEPT: u64 = 10_000;

type Script = dyn Fn(&SendGridCall) -> Option<SendGridAnswer> + Send + Sync;

/// SendGrid's sending interface on a free loopback port. What it answers, in this order: what
/// [`answer_all`](Self::answer_all) says; 401 without the right key; 400 if SendGrid would not take the body; what the
/// [`script`](Self::script) says; what the recipient says (see [`SendGridAnswer::for_recipient`]); 202.
pub struct SendGridStandIn {
    peer: HttpPeer,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    journal: Mutex<Vec<SendGridCall>>,
    script: Mutex<Option<Arc<Script>>>,
    outage: Mutex<Option<SendGridAnswer>>,
    calls: AtomicU64,
}

impl SendGridStandIn {
    /// Starts one that accepts everything the recipients do not script.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let handler = Arc::clone(&desk);
        Self { peer: HttpPeer::start(move |request| handler.handle(&request)), desk }
    }

    /// What to configure as `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.peer.addr())
    }

    /// The key it takes.
    pub fn api_key(&self) -> &'static str {
        API_KEY
    }

    /// Answers every call alike, an outage for example; `None` ends it.
    pub fn answer_all(&self, answer: Option<SendGridAnswer>) {
        *lock(&self.desk.outage) = answer;
    }

    /// While true, connections are closed at the head of a request: nothing is read, nothing journaled.
    pub fn cut_at_head(&self, on: bool) {
        self.peer.cut_at_head(on);
    }

    /// Asks `script` about each call (its status and accepted are not decided yet); `None` leaves it to the
    /// recipient.
    pub fn script(&self, script: impl Fn(&SendGridCall) -> Option<SendGridAnswer> + Send + Sync + 'static) {
        *lock(&self.desk.script) = Some(Arc::new(script));
    }

    /// All calls so far, in the order they came.
    pub fn journal(&self) -> Vec<SendGridCall> {
        lock(&self.desk.journal).clone()
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        lock(&self.desk.journal).len()
    }

    /// How many messages were accepted.
    pub fn accepted(&self) -> usize {
        lock(&self.desk.journal).iter().filter(|call| call.accepted).count()
    }

    /// How often each job was accepted. More than one is a duplicate. Calls without a job are under "".
    pub fn accepted_by_job(&self) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        for call in lock(&self.desk.journal).iter().filter(|call| call.accepted) {
            *counts.entry(call.job_id.clone().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// When the messages were accepted whose recipient passes `filter`; see
    /// [`busiest_window`](crate::peers::busiest_window).
    pub fn accepted_at(&self, filter: impl Fn(&str) -> bool) -> Vec<Instant> {
        let journal = lock(&self.desk.journal);
        journal
            .iter()
            .filter(|call| call.accepted && filter(&call.recipient))
            .map(|call| call.received)
            .collect()
    }

    /// Forgets all calls.
    pub fn clear(&self) {
        lock(&self.desk.journal).clear();
    }
}

impl fmt::Debug for SendGridStandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendGridStandIn").field("peer", &self.peer).field("calls", &self.calls()).finish()
    }
}

impl Desk {
    fn handle(&self, request: &HttpRequest) -> HttpAnswer {
        if request.path != "/v3/mail/send" {
            return refusal(404, Vec::new(), "not found");
        }
        if request.method != "POST" {
            return refusal(405, Vec::new(), "POST method allowed only");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut call = SendGridCall {
            received: request.received,
            version: request.version,
            job_id: call::job_id_in(&body),
            recipient: call::recipient_in(&body),
            authorized: request.header("authorization") == Some(&format!("Bearer {API_KEY}")),
            status: None,
            accepted: false,
            message_id: format!("stand-in-{number}"),
            body,
        };
        let (answer, http) = self.decide(request, &call);
        call.status = answer.status();
        call.accepted = answer.accepts();
        if number >= BODIES_KEPT {
            call.body = Value::Null;
        }
        // Before the answer: who has seen the answer finds the call in the journal.
        lock(&self.journal).push(call);
        http
    }

    fn decide(&self, request: &HttpRequest, call: &SendGridCall) -> (SendGridAnswer, HttpAnswer) {
        let scripted = |answer: SendGridAnswer| (answer, answer.to_http(&call.message_id));
        if let Some(outage) = *lock(&self.outage) {
            return scripted(outage);
        }
        if !call.authorized {
            return (SendGridAnswer::Status(401), refusal(401, Vec::new(), "authorization required"));
        }
        if let Some(fault) = call::fault_in(request, &call.body) {
            return (SendGridAnswer::Status(400), refusal(400, Vec::new(), fault));
        }
        let script = lock(&self.script).clone();
        let answer = script.and_then(|script| script(call));
        scripted(answer.unwrap_or_else(|| SendGridAnswer::for_recipient(&call.recipient)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
