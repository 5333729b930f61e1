//! Jobs as a publisher writes them.

use serde_json::{Value, json};

/// A job of pool `pool` for `recipient`.
pub(crate) fn job(id: &str, pool: &str, recipient: &str) -> Value {
    json!({
        "v": 1,
        "id": id,
        "class": "bulk",
        "pool": pool,
        "from": {"email": "news@acme.example", "name": "Acme"},
        "to": {"email": recipient, "name": "Ada"},
        "subject": "Hello {{ first_name }}",
        "html": "<p>Hello {{ first_name }}</p>",
        "text": "Hello {{ first_name }}",
        "vars": {"first_name": "Ada"},
        "unsubscribe_url": "https://acme.example/u/abc",
    })
}

/// A line for the foreign publisher: the routing key of the contract and the body.
pub(crate) fn line(job: &Value) -> Value {
    let domain = job["to"]["email"].as_str().unwrap().rsplit('@').next().unwrap();
    let key = format!("{}.{}.{domain}", job["pool"].as_str().unwrap(), job["class"].as_str().unwrap());
    json!({"routing_key": key, "body": job})
}

/// What a mixed batch consists of.
#[derive(Debug, Default)]
pub(crate) struct Mix {
    /// Every distinct job.
    pub(crate) jobs: Vec<Value>,
    /// The lines to publish; some jobs twice.
    pub(crate) lines: Vec<Value>,
}

/// `count` distinct jobs through both pools: most are accepted, some rejected, some deferred once, each tenth published
/// twice; recipients over several domains. Ids begin with `prefix`.
pub(crate) fn mixed_jobs(prefix: &str, count: usize) -> Mix {
    let domains = ["gmail.com", "outlook.com", "acme.example", "googlemail.com", "beispiel.example"];
    let mut mix = Mix::default();
    for i in 0..count {
        let pool = if i % 2 == 0 { "default" } else { "mail" };
        let rejects = if pool == "default" { "r400" } else { "r550" };
        let local = match i % 50 {
            7 | 8 => rejects,
            _ => "user",
        };
        let domain = domains[i % domains.len()];
        let job = job(&format!("{prefix}-{i}"), pool, &format!("{local}+{i}@{domain}"));
        mix.lines.push(line(&job));
        if i % 10 == 3 {
            mix.lines.push(line(&job));
        }
        mix.jobs.push(job);
    }
    mix
}

/// Seconds since the epoch as RFC 3339, by the calendar of Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (i64::try_from(seconds / 86_400).unwrap(), seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
