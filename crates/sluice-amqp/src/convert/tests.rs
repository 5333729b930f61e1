use bytes::Bytes;
use lapin::types::{ByteArray, FieldArray};
use proptest::prelude::*;
use sluice_types::{Refusal, RefusalReason};

use super::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn with(headers: &[(&str, AMQPValue)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    BasicProperties::default().with_headers(table)
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn job(passport: Passport) -> Publication {
    Publication {
        id: "job-1".parse().unwrap(),
        lane: "default.bulk.gmail".parse().unwrap(),
        body: Bytes::from_static(b"{}"),
        passport,
    }
}

#[test]
fn a_passport_reads_back_what_it_writes() {
    let passport = Passport {
        attempt: 7,
        first_seen: Some(Timestamp::from_micros(1_764_000_000_000_000)),
        faulted: vec!["sendgrid".parse().unwrap(), "ses".parse().unwrap()],
        resend: true,
        renewals: 2,
        traceparent: Some(TRACE.to_owned()),
    };
    let properties = job_properties(&job(passport.clone()), 41);
    assert_eq!(super::passport(&properties), passport);
    assert_eq!(sequence(&properties), Some(41));
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "job-1");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
}

#[test]
fn a_fresh_job_has_the_default_passport() {
    assert_eq!(passport(&BasicProperties::default()), Passport::default());
    assert_eq!(passport(&job_properties(&job(Passport::default()), 0)), Passport::default());
}

#[test]
fn only_of_what_came_back_it_is_believed_how_often() {
    let count = with(&[(RETURNS, AMQPValue::LongLongInt(7))]);
    assert_eq!((returns(&count, true), returns(&count, false)), (7, 0));
    for odd in [with(&[]), BasicProperties::default(), with(&[(RETURNS, AMQPValue::LongLongInt(-3))])] {
        assert_eq!(returns(&odd, true), 1, "{odd:?}");
    }
}

#[test]
fn hostile_headers_are_ignored() {
    for value in [
        long("7"),
        AMQPValue::LongLongInt(0),
        AMQPValue::LongLongInt(-1),
        AMQPValue::LongLongInt(i64::MAX),
        AMQPValue::Double(2.0),
        AMQPValue::Timestamp(u64::MAX),
        AMQPValue::Void,
        AMQPValue::FieldArray(FieldArray::default()),
        AMQPValue::ByteArray(ByteArray::from(vec![0_u8; 9])),
    ] {
        let headers: Vec<_> =
            [ATTEMPT, FIRST_SEEN, RESEND].iter().map(|name| (*name, value.clone())).collect();
        assert_eq!(passport(&with(&headers)), Passport::default(), "{value:?}");
    }
    for text in ["", ",,,", "A B", &"x".repeat(5000), "\u{0}", "ä,ö"] {
        let headers = [(FAULTED, long(text)), (TRACEPARENT, long(text)), (RESEND, long(text))];
        assert_eq!(passport(&with(&headers)), Passport::default(), "{text:?}");
    }
    let not_utf8 = AMQPValue::LongString(vec![0xff_u8; 60].into());
    assert_eq!(passport(&with(&[(TRACEPARENT, not_utf8)])), Passport::default());
}

#[test]
fn an_attempt_is_read_from_any_integer_width() {
    for value in [AMQPValue::LongLongInt(3), AMQPValue::LongInt(3), AMQPValue::ShortShortUInt(3)] {
        assert_eq!(passport(&with(&[(ATTEMPT, value)])).attempt, 3);
    }
}

#[test]
fn the_list_of_faulted_esps_is_bounded_and_has_no_doubles() {
    let many: Vec<_> = (0..100).map(|number| format!("e{}", number % 5)).collect();
    let read = passport(&with(&[(FAULTED, long(&many.join(",")))])).faulted;
    assert_eq!(read.len(), 5);
    let many: Vec<_> = (0..100).map(|number| format!("e{number}")).collect();
    assert_eq!(passport(&with(&[(FAULTED, long(&many.join(",")))])).faulted.len(), FAULTED_MAX);
}

#[test]
fn the_lane_of_a_death_comes_from_the_last_death_then_from_the_first() {
    let death = |queue: AMQPValue| {
        let mut table = FieldTable::default();
        table.insert("queue".into(), queue);
        AMQPValue::FieldTable(table)
    };
    let deaths = |list: Vec<AMQPValue>| (DEATHS, AMQPValue::FieldArray(list.into()));
    let first = (FIRST_DEATH_QUEUE, long("sluice.lane.default.bulk.yahoo"));
    let gmail = death(long("sluice.lane.default.bulk.gmail"));
    for (headers, lane) in [
        (vec![deaths(vec![gmail.clone(), death(long("x"))]), first.clone()], Some("default.bulk.gmail")),
        (vec![deaths(vec![]), first.clone()], Some("default.bulk.yahoo")),
        (vec![deaths(vec![death(AMQPValue::Void)]), first.clone()], Some("default.bulk.yahoo")),
        (vec![first], Some("default.bulk.yahoo")),
        (vec![deaths(vec![death(long("somewhere.else"))])], None),
        (vec![(DEATHS, long("text"))], None),
        (vec![], None),
    ] {
        assert_eq!(lane_of_death(&with(&headers)).map(|lane| lane.to_string()).as_deref(), lane);
    }
}

#[test]
fn a_burial_says_why_and_cuts_long_texts_between_characters() {
    let burial = Burial {
        job_id: None,
        refusal: Refusal::new(RefusalReason::InvalidValue, "to.email", "ä".repeat(4000)),
        lane: "default.bulk.gmail".parse().unwrap(),
        body: Bytes::new(),
        traceparent: None,
    };
    let properties = burial_properties(&burial, 3);
    let headers = properties.headers().as_ref().unwrap();
    assert_eq!(text(headers, "reason"), Some("invalid_value"));
    assert_eq!(text(headers, "field"), Some("to.email"));
    assert_eq!(text(headers, "lane"), Some("default.bulk.gmail"));
    assert_eq!(text(headers, "detail").unwrap().len(), HEADER_MAX_BYTES);
    assert_eq!(sequence(&properties), Some(3));
    assert_eq!((properties.message_id(), text(headers, TRACEPARENT)), (&None, None));
    assert_eq!(properties.expiration().as_ref().map(ShortString::as_str), Some("604800000"), "7 days");
}

#[test]
fn a_burial_carries_on_what_was_known_of_the_job() {
    for (traceparent, expected) in [(TRACE, Some(TRACE)), ("00-odd", None)] {
        let burial = Burial {
            job_id: Some("job-1".to_owned()),
            refusal: Refusal::id_conflict(),
            lane: "default.bulk.gmail".parse().unwrap(),
            body: Bytes::new(),
            traceparent: Some(traceparent.to_owned()),
        };
        let properties = burial_properties(&burial, 0);
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("job-1"));
        assert_eq!(text(properties.headers().as_ref().unwrap(), TRACEPARENT), expected, "{traceparent}");
    }
}

proptest! {
    #[test]
    fn any_text_in_any_header_gives_a_passport_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let value = AMQPValue::LongString(bytes.into());
        let headers: Vec<_> =
            [ATTEMPT, FIRST_SEEN, FAULTED, RESEND, TRACEPARENT].iter().map(|name| (*name, value.clone())).collect();
        let read = passport(&with(&headers));
        prop_assert_eq!(read.attempt, 1);
        prop_assert!(read.faulted.len() <= FAULTED_MAX);
        prop_assert!(!read.resend);
    }
}
