//! The jobs of a run: each is made from the run's seed and its number alone.

use fastrand::Rng;
use serde_json::{Value, json};

/// The share of jobs for the ESP with 50/s, in percent.
const SLOW_PERCENT: u32 = 3;
/// The share of jobs for the pool whose only member has a broken TLS, in percent.
const TLS_PERCENT: u32 = 3;
/// The share of jobs for the group with 100/s, in percent.
const GMAIL_PERCENT: u32 = 8;
/// The share of transactional jobs, in percent.
const TRANSACTIONAL_PERCENT: u32 = 30;

const OTHER_DOMAINS: [&str; 3] = ["outlook.com", "acme.example", "beispiel.example"];

/// What must become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A job: one final state.
    Job,
    /// No job: a dead letter.
    Malformed,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
}

/// All messages of a run.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) seed: u64,
    pub(crate) count: usize,
    /// Of a thousand messages, how many are no jobs.
    pub(crate) malformed_permille: u32,
    /// Everything into one lane, instead of many.
    pub(crate) one_lane: bool,
}

/// Some of a thousand, so that refusals go on beside everything else.
#[cfg(test)]
pub(crate) const SOME_MALFORMED: u32 = 5;

impl Load {
    /// The id of message `number`.
    pub(crate) fn id(&self, number: usize) -> String {
        format!("c{:x}-{number}", self.seed)
    }

    /// Message `number`, always the same.
    pub(crate) fn message(&self, number: usize) -> Message {
        let salt = u64::try_from(number).unwrap_or(u64::MAX).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Rng::with_seed(self.seed ^ salt);
        let id = self.id(number);
        let percent = rng.u32(0..100);
        let (pool, domain) = if self.one_lane {
            ("default", "acme.example")
        } else if percent < SLOW_PERCENT {
            ("slow", "acme.example")
        } else if percent < SLOW_PERCENT + TLS_PERCENT {
            ("tls", "beispiel.example")
        } else if percent < SLOW_PERCENT + TLS_PERCENT + GMAIL_PERCENT {
            ("default", "gmail.com")
        } else {
            ("default", rng.choice(OTHER_DOMAINS).unwrap_or("acme.example"))
        };
        let class =
            if rng.u32(0..100) < TRANSACTIONAL_PERCENT && !self.one_lane { "transactional" } else { "bulk" };
        let local = match rng.u32(0..200) {
            0..2 => "r400",
            // The stand-in defers the first call for these.
            2..6 => "defer1",
            _ => "user",
        };
        let mut job = json!({
            "v": 1,
            "id": id,
            "class": class,
            "pool": pool,
            "from": {"email": "news@acme.example", "name": "Acme"},
            "to": {"email": format!("{local}+{number}@{domain}"), "name": "Ada"},
            "subject": "Hello {{ first_name }}",
            "text": "Hello {{ first_name }}, this is one of many.",
            "vars": {"first_name": "Ada"},
        });
        let kind = if rng.u32(0..1_000) < self.malformed_permille { Kind::Malformed } else { Kind::Job };
        if kind == Kind::Malformed
            && let Some(fields) = job.as_object_mut()
        {
            match rng.u32(0..3) {
                0 => fields.insert("subject".to_owned(), Value::from(5)),
                1 => fields.insert("expire_at".to_owned(), Value::from("misspelt")),
                _ => fields.insert("text".to_owned(), Value::from("{{ no_such_variable }}")),
            };
        }
        Message {
            number,
            id,
            kind,
            key: format!("{pool}.{class}.{domain}"),
            body: job.to_string().into_bytes(),
        }
    }

    /// Which messages must become jobs.
    pub(crate) fn is_job(&self, number: usize) -> bool {
        self.message(number).kind == Kind::Job
    }
}

/// The number in an id of this load, if it is one.
pub(crate) fn number_in(id: &str) -> Option<usize> {
    id.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_depends_on_seed_and_number_alone() {
        let load = Load { seed: 7, count: 1_000, malformed_permille: SOME_MALFORMED, one_lane: false };
        for number in 0..load.count {
            let (once, again) = (load.message(number), load.message(number));
            assert_eq!(once.body, again.body);
            assert_eq!(number_in(&once.id), Some(number));
        }
        let jobs = (0..load.count).filter(|number| load.is_job(*number)).count();
        assert!((980..1_000).contains(&jobs), "{jobs} jobs and some that are none");
        let only = Load { one_lane: true, ..load.clone() };
        assert!((0..only.count).all(|number| only.message(number).key == "default.bulk.acme.example"));
        assert_ne!(load.message(3).body, Load { seed: 8, ..load.clone() }.message(3).body);
    }
}
