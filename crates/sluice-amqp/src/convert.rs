//! AMQP properties and headers to the engine's words and back. Pure.
//!
//! Headers come from whoever may publish: one of the wrong type, or out of bounds, is as if it were not there.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sluice_engine::{Announcement, Burial, Passport, Publication};
use sluice_types::{EspId, Lane, Timestamp};

use crate::topology::queue_lane;

const ATTEMPT: &str = "x-sluice-attempt";
const FIRST_SEEN: &str = "x-sluice-first-seen";
const FAULTED: &str = "x-sluice-faulted";
const RENEWALS: &str = "x-sluice-renewals";
const RESEND: &str = "x-sluice-resend";
const TRACEPARENT: &str = "traceparent";
const RETURNS: &str = "x-delivery-count";
const DEATHS: &str = "x-death";
const FIRST_DEATH_QUEUE: &str = "x-first-death-queue";

/// Highest attempt number that is believed.
const ATTEMPT_MAX: i64 = 1_000_000;
/// Highest number of renewals that is believed.
const RENEWALS_MAX: i64 = 1_000;
/// Latest "first seen" that is believed: the start of the year 2100, in microseconds.
const FIRST_SEEN_MAX_US: i64 = 4_102_444_800_000_000;
/// Most ESPs in the list of those that faulted.
const FAULTED_MAX: usize = 16;
/// Longest list of ESPs that is read, in bytes: as many of the longest names.
const FAULTED_MAX_BYTES: usize = FAULTED_MAX * 65;
/// Lengths of a `traceparent` of version 00, and of the longest that is carried on (W3C Trace Context, 3.2).
const TRACEPARENT_BYTES: std::ops::RangeInclusive<usize> = 55..=128;
/// Longest text in a header of a refused message, in bytes.
const HEADER_MAX_BYTES: usize = 1024;
/// How long a refused message stays in `sluice.dead`, in milliseconds: 7 days. Nobody has to read that queue, and the table of
/// dead letters has the body until somebody drops it.
const BURIAL_EXPIRES_MS: &str = "604800000";
/// Persistent (AMQP 0-9-1, basic class).
const DELIVERY_MODE: u8 = 2;

/// What travels beside the body.
pub(crate) fn passport(properties: &BasicProperties) -> Passport {
    let Some(headers) = properties.headers() else { return Passport::default() };
    Passport {
        attempt: attempt(headers).unwrap_or(Passport::default().attempt),
        first_seen: integer(headers, FIRST_SEEN)
            .filter(|us| (1..=FIRST_SEEN_MAX_US).contains(us))
            .map(Timestamp::from_micros),
        faulted: text(headers, FAULTED).map(faulted).unwrap_or_default(),
        resend: matches!(value(headers, RESEND), Some(AMQPValue::Boolean(true))),
        renewals: integer(headers, RENEWALS)
            .filter(|number| (0..=RENEWALS_MAX).contains(number))
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0),
        traceparent: text(headers, TRACEPARENT).filter(|text| is_traceparent(text)).map(str::to_owned),
    }
}

/// How often a quorum queue says that a message came back. The count of a fresh message is its publisher's invention.
pub(crate) fn returns(properties: &BasicProperties, redelivered: bool) -> u32 {
    if !redelivered {
        return 0;
    }
    let count = properties.headers().as_ref().and_then(|headers| integer(headers, RETURNS));
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0).max(1)
}

/// The properties of a job on its way into a lane. `sequence` finds it again if the broker returns it.
pub(crate) fn job_properties(job: &Publication, sequence: usize) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(DELIVERY_MODE)
        .with_content_type("application/json".into())
        .with_message_id(ShortString::try_new(job.id.as_str()).unwrap_or_default())
        .with_correlation_id(sequence_text(sequence))
        .with_headers(passport_headers(&job.passport))
}

/// The properties of a refused message on its way to `sluice.dead`.
pub(crate) fn burial_properties(burial: &Burial, sequence: usize) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, text: &str| {
        headers.insert(name.into(), AMQPValue::LongString(cut(text).into()));
    };
    put("reason", burial.refusal.reason.as_str());
    put("field", &burial.refusal.field);
    put("detail", &burial.refusal.detail);
    put("lane", &burial.lane.to_string());
    put_traceparent(&mut headers, burial.traceparent.as_deref());
    let properties = BasicProperties::default()
        .with_delivery_mode(DELIVERY_MODE)
        .with_content_type("application/octet-stream".into())
        .with_expiration(BURIAL_EXPIRES_MS.into())
        .with_correlation_id(sequence_text(sequence))
        .with_headers(headers);
    match burial.job_id.as_deref().map(ShortString::try_new) {
        Some(Ok(id)) => properties.with_message_id(id),
        Some(Err(_)) | None => properties,
    }
}

/// The properties of a result on its way to `sluice.results`. Nobody has to listen, so it is never returned.
pub(crate) fn result_properties(result: &Announcement) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(DELIVERY_MODE)
        .with_content_type("application/json".into())
        .with_message_id(ShortString::try_new(result.job_id.as_str()).unwrap_or_default())
}

/// The sequence number that [`job_properties`] or [`burial_properties`] wrote.
pub(crate) fn sequence(properties: &BasicProperties) -> Option<usize> {
    properties.correlation_id().as_ref()?.as_str().parse().ok()
}

/// The lane in which a message exceeded the delivery limit: its last death, which the broker writes first.
pub(crate) fn lane_of_death(properties: &BasicProperties) -> Option<Lane> {
    let headers = properties.headers().as_ref()?;
    let last = match value(headers, DEATHS) {
        Some(AMQPValue::FieldArray(deaths)) => match deaths.as_slice().first() {
            Some(AMQPValue::FieldTable(death)) => text(death, "queue"),
            _ => None,
        },
        _ => None,
    };
    last.or_else(|| text(headers, FIRST_DEATH_QUEUE)).and_then(queue_lane)
}

fn passport_headers(passport: &Passport) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(passport.attempt.into()));
    if let Some(first_seen) = passport.first_seen {
        headers.insert(FIRST_SEEN.into(), AMQPValue::LongLongInt(first_seen.as_micros()));
    }
    if !passport.faulted.is_empty() {
        let names: Vec<_> = passport.faulted.iter().take(FAULTED_MAX).map(EspId::as_str).collect();
        headers.insert(FAULTED.into(), AMQPValue::LongString(names.join(",").into()));
    }
    if passport.resend {
        headers.insert(RESEND.into(), AMQPValue::Boolean(true));
    }
    if passport.renewals > 0 {
        headers.insert(RENEWALS.into(), AMQPValue::LongLongInt(passport.renewals.into()));
    }
    put_traceparent(&mut headers, passport.traceparent.as_deref());
    headers
}

fn put_traceparent(headers: &mut FieldTable, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent.filter(|text| is_traceparent(text)) {
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString(traceparent.into()));
    }
}

fn attempt(headers: &FieldTable) -> Option<u32> {
    let number = integer(headers, ATTEMPT).filter(|number| (1..=ATTEMPT_MAX).contains(number))?;
    u32::try_from(number).ok()
}

fn faulted(list: &str) -> Vec<EspId> {
    let mut esps = Vec::new();
    if list.len() <= FAULTED_MAX_BYTES {
        for esp in list.split(',').filter_map(|name| EspId::new(name.trim()).ok()).take(FAULTED_MAX) {
            if !esps.contains(&esp) {
                esps.push(esp);
            }
        }
    }
    esps
}

fn is_traceparent(text: &str) -> bool {
    TRACEPARENT_BYTES.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-')
}

fn value<'a>(table: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    table.inner().get(name)
}

/// A whole number of whichever width the publisher's client chose.
fn integer(table: &FieldTable, name: &str) -> Option<i64> {
    match value(table, name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::Boolean(_)
        | AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::ShortString(_)
        | AMQPValue::LongString(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::Timestamp(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => None,
    }
}

fn text<'a>(table: &'a FieldTable, name: &str) -> Option<&'a str> {
    match value(table, name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    }
}

fn sequence_text(sequence: usize) -> ShortString {
    ShortString::try_new(sequence.to_string()).unwrap_or_default()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(HEADER_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
