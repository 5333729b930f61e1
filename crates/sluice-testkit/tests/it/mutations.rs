//! Parsers of what strangers write, fed with good input that was broken: they refuse or take it, and never panic.
//!
//! `PROPTEST_CASES=100000 cargo test -p sluice-testkit mutations` looks for longer.

use proptest::prelude::*;
use sluice_config::Config;
use sluice_testkit::mutated;
use sluice_types::{Address, BODY_MAX_BYTES, Job, LimitSpec};

const JOB: &str = r#"{"v":1,"id":"0192f0c1-6f0e","tenant":"acme","class":"bulk","pool":"default","campaign":"spring",
"from":{"email":"news@acme.example","name":"Acme"},"to":{"email":"ada@gmail.com","name":"Ada"},
"reply_to":{"email":"help@acme.example"},"subject":"Hello {{ first_name }}","html":"<p>Hello</p>","text":"Hello",
"vars":{"first_name":"Ada","n":[1,2.5,null,{"deep":true}]},"headers":{"X-Thing":"1"},
"unsubscribe_url":"https://acme.example/u/abc","metadata":{"order":"17"},"send_at":"2026-11-24T12:00:00Z",
"expires_at":"2026-11-25T12:00:00+02:00"}"#;
const LIMITS: [&str; 7] = [
    "100/s",
    "100/s burst 200",
    "50000/h",
    "1000000/day calendar",
    "10 connections",
    "7/10s rolling",
    "3/2min",
];
const ADDRESSES: [&str; 4] =
    ["ada@gmail.com", "\"odd name\"@acme.example", "ada+x.y@bücher.example", "a@[127.0.0.1]"];
const EXAMPLE: &str = include_str!("../../../../deploy/config.example.toml");

proptest! {
    #[test]
    fn a_broken_job_is_refused_by_field_or_is_safe(seed in any::<u64>()) {
        let body = mutated(JOB.as_bytes(), seed);
        match Job::parse(&body) {
            Ok(job) => {
                for text in [job.subject.as_str(), job.to.email.as_str(), job.from.email.as_str()] {
                    prop_assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
                }
                prop_assert!(job.to.email.as_str().contains('@'));
                prop_assert!(body.len() <= BODY_MAX_BYTES);
            }
            Err(refusal) => {
                prop_assert!(!refusal.detail.is_empty());
                // The words go into logs and headers.
                let words = format!("{}{}", refusal.field, refusal.detail);
                prop_assert!(!words.contains(['\r', '\n', '\0']), "{words:?}");
                prop_assert!(!words.contains("ada@gmail.com"), "{words:?}");
                prop_assert!(words.len() < 2_000, "{} bytes", words.len());
            }
        }
    }

    #[test]
    fn a_broken_limit_is_refused_or_reads_back(which in 0..LIMITS.len(), seed in any::<u64>()) {
        let bytes = mutated(LIMITS[which].as_bytes(), seed);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(spec) = text.parse::<LimitSpec>() {
            prop_assert_eq!(spec.to_string().parse::<LimitSpec>(), Ok(spec));
        }
    }

    #[test]
    fn a_broken_address_is_refused_or_has_one_line(which in 0..ADDRESSES.len(), seed in any::<u64>()) {
        let bytes = mutated(ADDRESSES[which].as_bytes(), seed);
        if let Ok(address) = Address::parse(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!address.as_str().contains(['\r', '\n', '\0', '<', '>']), "{}", address.as_str());
            prop_assert!(!address.domain().is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_broken_configuration_is_refused_or_read(seed in any::<u64>()) {
        let bytes = mutated(EXAMPLE.as_bytes(), seed);
        if let Err(faults) = Config::load(&String::from_utf8_lossy(&bytes), &[], &|_| Err("no files".to_owned())) {
            prop_assert!(!faults.0.is_empty());
        }
    }
}
