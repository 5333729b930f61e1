//! The calls by which an ESP reports what became of messages.

use sluice_types::{EspId, Timestamp, WebhookRefusal};

use super::EspEvent;

/// Reads the webhook calls of one ESP account. Pure: it knows no network and no store.
pub trait Webhook: Send + Sync + std::fmt::Debug {
    /// The account.
    fn esp(&self) -> &EspId;

    /// Checks who sent the call, then reads its events.
    ///
    /// # Errors
    /// When the call is not the ESP's, too old, or not of its form: the whole call counts for nothing. What is wrong
    /// with a single event is no error; it is left out and counted.
    fn read(&self, call: &WebhookCall<'_>) -> Result<Reading, WebhookRefusal>;
}

/// One call as it came in.
#[derive(Clone, Copy, Debug)]
pub struct WebhookCall<'a> {
    /// Headers in lower case with their values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body, byte for byte.
    pub body: &'a [u8],
    /// Now.
    pub now: Timestamp,
}

impl<'a> WebhookCall<'a> {
    /// The header `name` (in lower case), when there is exactly one and it is ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut found = self.headers.iter().filter(|(it, _)| *it == name).map(|(_, value)| *value);
        let (Some(value), None) = (found.next(), found.next()) else { return None };
        std::str::from_utf8(value).ok().filter(|text| text.is_ascii())
    }
}

/// What a call says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Events on jobs of ours.
    pub events: Vec<EspEvent>,
    /// Events on messages that are not ours, or of a kind that says nothing of a message's fate.
    pub foreign: u64,
    /// Events that name a job of ours and cannot be read.
    pub unreadable: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_comes_twice_counts_as_none() {
        let headers: [(&str, &[u8]); 4] = [("a", b"1"), ("b", b"2"), ("b", b"3"), ("c", b"\xff")];
        let call = WebhookCall { headers: &headers, body: b"", now: Timestamp::from_micros(0) };
        assert_eq!(
            (call.header("a"), call.header("b"), call.header("c"), call.header("d")),
            (Some("1"), None, None, None)
        );
    }
}
