//! Jobs to send.

use std::sync::Arc;

use serde_json::json;
use sluice_engine::{Clock, SystemClock};
use sluice_types::{EspId, Job};

/// A job with every field that an ESP can carry.
pub(crate) fn job(id: &str, recipient: &str) -> Job {
    let document = json!({
        "v": 1, "id": id, "tenant": "acme", "class": "bulk", "from": {"email": "news@acme.example", "name": "Acme"},
        "to": {"email": recipient, "name": "Ada"}, "reply_to": {"email": "help@acme.example"}, "subject": "Hello Ada",
        "html": "<p>Hello</p>", "text": "Hello", "headers": {"X-Thing": "1"},
        "unsubscribe_url": "https://acme.example/u/abc", "metadata": {"order": "17"}
    });
    Job::parse(document.to_string().as_bytes()).unwrap()
}

pub(crate) fn esp_id() -> EspId {
    EspId::new("under-test").unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}
