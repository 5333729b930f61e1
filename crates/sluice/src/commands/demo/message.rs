//! From a sample to the bytes that are enqueued.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use sluice_types::{Class, JobDocument, JobId, MailboxDocument, RefusalReason, Timestamp};

use super::scenario::{Fault, Kind, Pool, Sample};

/// What every id begins with.
const ID_PREFIX: &str = "demo-";
/// Recipients on the suppression list.
const SUPPRESSED: [&str; 3] = ["optout.ada@example.com", "optout.bob@example.net", "optout.cy@example.org"];
/// A job that the ESP defers is given up after this long.
const DEFERRED_FOR: Duration = Duration::from_secs(4);
/// A job that comes too late is so much too late.
const LATE_MICROS: i64 = 3_600_000_000;

/// The recipients to suppress before the first message.
pub(super) const fn suppressed_recipients() -> [&'static str; 3] {
    SUPPRESSED
}

/// The id under which the sample `number` is known; that of its original for a copy.
pub(super) fn id(number: u32, sample: &Sample) -> String {
    match sample.kind {
        Kind::Copy { of } | Kind::Malformed(Fault::TakenId { of }) => format!("{ID_PREFIX}{of}"),
        Kind::Plain
        | Kind::Malformed(_)
        | Kind::Suppressed
        | Kind::Expired
        | Kind::Deferred
        | Kind::Rejected
        | Kind::Unknown => format!("{ID_PREFIX}{number}"),
    }
}

/// The id of the sample `number`, checked.
pub(super) fn job_id(number: u32, sample: &Sample) -> anyhow::Result<JobId> {
    JobId::new(&id(number, sample)).context("the id of a sample")
}

/// The number behind an id; none when it is not one of ours.
pub(super) fn number(id: &str) -> Option<u32> {
    id.strip_prefix(ID_PREFIX)?.parse().ok()
}

/// The class of a sample: every third plain one is transactional.
pub(super) const fn class(number: u32, sample: &Sample) -> Class {
    match sample.kind {
        Kind::Plain if number.is_multiple_of(3) => Class::Transactional,
        Kind::Copy { of } if of.is_multiple_of(3) => Class::Transactional,
        Kind::Deferred => Class::Transactional,
        Kind::Plain
        | Kind::Copy { .. }
        | Kind::Malformed(_)
        | Kind::Suppressed
        | Kind::Expired
        | Kind::Rejected
        | Kind::Unknown => Class::Bulk,
    }
}

/// Why a malformed sample ought to be refused.
pub(super) const fn reason(fault: Fault) -> RefusalReason {
    match fault {
        Fault::NotJson => RefusalReason::NotJson,
        Fault::NotUtf8 => RefusalReason::NotUtf8,
        Fault::NoRecipient => RefusalReason::MissingField,
        Fault::MisspeltField => RefusalReason::UnknownField,
        Fault::LineBreakInSubject => RefusalReason::InvalidValue,
        Fault::NoSuchPool => RefusalReason::UnknownPool,
        Fault::BrokenTemplate => RefusalReason::Template,
        Fault::TakenId { .. } => RefusalReason::IdConflict,
    }
}

/// The body of a sample that is enqueued at `now`. A copy has the very bytes of its original.
pub(super) fn body(number: u32, sample: &Sample, now: Timestamp) -> anyhow::Result<Bytes> {
    let own_number = match sample.kind {
        Kind::Copy { of } => of,
        _ => number,
    };
    let mut job = document(own_number, sample);
    match sample.kind {
        Kind::Plain | Kind::Copy { .. } => {}
        Kind::Malformed(fault) => return malformed(number, sample, fault, job),
        Kind::Suppressed => {
            let recipient = SUPPRESSED.iter().cycle().nth(usize::try_from(number % 3).unwrap_or(0));
            job.to = recipient.map(|email| mailbox(email));
        }
        Kind::Expired => {
            job.expires_at = Some(Timestamp::from_micros(now.as_micros() - LATE_MICROS).to_string());
        }
        Kind::Deferred => {
            job.to = Some(mailbox(&format!("defer.{number}@example.com")));
            job.expires_at = Some((now + DEFERRED_FOR).to_string());
        }
        Kind::Rejected => job.to = Some(mailbox(&format!("reject.{number}@example.com"))),
        Kind::Unknown => job.to = Some(mailbox(&format!("unknown.{number}@example.com"))),
    }
    bytes(&job)
}

fn document(number: u32, sample: &Sample) -> JobDocument {
    let domain = sample.group.domain(number);
    let mut vars = serde_json::Map::new();
    vars.insert("reader".to_owned(), number.into());
    JobDocument {
        v: Some(1),
        id: Some(id(number, sample)),
        tenant: Some("acme".to_owned()),
        class: Some(class(number, sample).as_str().to_owned()),
        pool: (sample.pool != Pool::Default).then(|| sample.pool.name().to_owned()),
        campaign: Some("demo".to_owned()),
        from: Some(MailboxDocument {
            email: Some("news@acme.example".to_owned()),
            name: Some("Acme".to_owned()),
        }),
        to: Some(mailbox(&format!("reader.{number}@{domain}"))),
        subject: Some("Hello, reader {{ reader }}".to_owned()),
        text: Some("Good news for reader {{ reader }}.".to_owned()),
        vars: Some(vars),
        unsubscribe_url: Some(format!("https://acme.example/u/{number}")),
        ..JobDocument::default()
    }
}

fn malformed(number: u32, sample: &Sample, fault: Fault, mut job: JobDocument) -> anyhow::Result<Bytes> {
    match fault {
        Fault::NotJson => return Ok(Bytes::from(format!("Dear sample {number}, this is not JSON."))),
        Fault::NotUtf8 => return Ok(Bytes::from_static(b"{\"v\":1,\"id\":\"\xff\xfe\"}")),
        Fault::MisspeltField => {
            let mut value = serde_json::to_value(&job)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("expire_at".to_owned(), "2030-01-01T00:00:00Z".into());
            }
            return Ok(Bytes::from(serde_json::to_vec(&value)?));
        }
        Fault::NoRecipient => job.to = None,
        Fault::LineBreakInSubject => job.subject = Some("Hello\r\nBcc: everybody@example.com".to_owned()),
        Fault::NoSuchPool => job.pool = Some("no-such-pool".to_owned()),
        Fault::BrokenTemplate => job.subject = Some("Hello, {{ reader".to_owned()),
        Fault::TakenId { .. } => {
            job.id = Some(id(number, sample));
            job.subject = Some("Another message under a taken id".to_owned());
        }
    }
    bytes(&job)
}

fn mailbox(email: &str) -> MailboxDocument {
    MailboxDocument { email: Some(email.to_owned()), name: None }
}

fn bytes(job: &JobDocument) -> anyhow::Result<Bytes> {
    Ok(Bytes::from(serde_json::to_vec(job).context("the body of a sample")?))
}

#[cfg(test)]
mod tests {
    use sluice_types::Job;

    use super::*;
    use crate::commands::demo::scenario::Scenario;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    #[test]
    fn only_malformed_samples_are_refused_and_each_for_its_reason() {
        let scenario = Scenario::new(2000, 1);
        for (number, sample) in (0..).zip(&scenario.samples) {
            let parsed = Job::parse(&body(number, sample, NOW).unwrap());
            match sample.kind {
                // These three are found later on the way: by the plan, the template and the claim.
                Kind::Malformed(Fault::NoSuchPool | Fault::BrokenTemplate | Fault::TakenId { .. }) => {
                    assert!(parsed.is_ok(), "{sample:?}");
                }
                Kind::Malformed(fault) => assert_eq!(parsed.unwrap_err().reason, reason(fault), "{sample:?}"),
                _ => assert_eq!(parsed.unwrap().id.as_str(), id(number, sample), "{sample:?}"),
            }
        }
    }

    #[test]
    fn a_copy_has_the_bytes_of_its_original_and_a_taken_id_has_not() {
        let scenario = Scenario::new(2000, 1);
        let later = NOW + Duration::from_secs(60);
        for (number, sample) in (0..).zip(&scenario.samples) {
            let (of, same) = match sample.kind {
                Kind::Copy { of } => (of, true),
                Kind::Malformed(Fault::TakenId { of }) => (of, false),
                _ => continue,
            };
            let original = &scenario.samples[usize::try_from(of).unwrap()];
            let equal = body(number, sample, later).unwrap() == body(of, original, NOW).unwrap();
            assert_eq!(equal, same, "{sample:?}");
            assert_eq!(id(number, sample), id(of, original));
        }
    }

    #[test]
    fn an_id_reads_back() {
        let sample = Scenario::new(100, 1).samples[0];
        assert_eq!(number(&id(17, &sample)), Some(17));
        assert_eq!(number("other-17"), None);
    }
}
