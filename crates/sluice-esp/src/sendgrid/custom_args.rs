//! The custom arguments of a message: what every event of it carries beside SendGrid's own fields, as keys of the same object.

use std::borrow::Cow;

use sluice_types::Job;

/// The job's id, its tenant and the attempt: names that no event field has and no metadata may have.
pub(super) const JOB_ID: &str = "sluice_job_id";
pub(super) const TENANT: &str = "sluice_tenant";
pub(super) const ATTEMPT: &str = "sluice_attempt";
/// What others go by, such as stand-ins of SendGrid; and the names of versions before. SendGrid's event `deferred` has an
/// `attempt` of its own.
pub(super) const PLAIN_JOB_ID: &str = "job_id";
pub(super) const PLAIN_TENANT: &str = "tenant";
pub(super) const PLAIN_ATTEMPT: &str = "attempt";

/// Stands before a key of metadata that would else be taken for a field of the event.
const META: &str = "meta_";
/// SendGrid refuses more than 10,000 bytes of `custom_args`; a little room is left for how it counts.
const CUSTOM_ARGS_MAX_BYTES: usize = 9_900;
/// The quotes, colon and comma of one pair.
const PAIR_OVERHEAD_BYTES: usize = 6;

/// The fields of SendGrid's events ("Event Webhook Reference", November 2026), and ours of versions before.
const EVENT_FIELDS: [&str; 33] = [
    "asm_group_id",
    PLAIN_ATTEMPT,
    "bounce_classification",
    "category",
    "cert_err",
    "domain",
    "email",
    "event",
    "from",
    "ip",
    PLAIN_JOB_ID,
    "newsletter",
    "phase_id",
    "pool",
    "post_type",
    "reason",
    "response",
    "send_at",
    "singlesend_id",
    "singlesend_name",
    "smtp-id",
    "status",
    "template_hash",
    "template_id",
    "template_version_id",
    PLAIN_TENANT,
    "timestamp",
    "tls",
    "type",
    "unique_args",
    "url",
    "url_offset",
    "useragent",
];
/// Prefixes of such fields.
const EVENT_PREFIXES: [&str; 4] = ["sg_", "mc_", "marketing_campaign_", "sluice_"];

/// A name and its value.
pub(super) type Pair<'a> = (Cow<'a, str>, &'a str);

/// The arguments of `job`. Ours come first; metadata that does not fit is left out.
pub(super) fn custom_args<'a>(job: &'a Job, attempt: &'a str) -> Vec<Pair<'a>> {
    let ours = [
        (PLAIN_JOB_ID, job.id.as_str()),
        (JOB_ID, job.id.as_str()),
        (TENANT, job.tenant.as_str()),
        (ATTEMPT, attempt),
    ];
    let mut pairs: Vec<Pair<'a>> = ours.map(|(name, value)| (Cow::Borrowed(name), value)).into();
    let mut bytes: usize = pairs.iter().map(|(name, value)| cost(name, value)).sum();
    for (key, value) in &job.metadata {
        let name = name_of(key, job);
        let more = cost(&name, value);
        if bytes + more <= CUSTOM_ARGS_MAX_BYTES {
            bytes += more;
            pairs.push((name, value));
        }
    }
    pairs
}

/// The name under which a key of metadata goes out: its own, or one that is neither a field of events nor another key.
fn name_of<'a>(key: &'a str, job: &Job) -> Cow<'a, str> {
    if !EVENT_FIELDS.contains(&key) && !EVENT_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
        return Cow::Borrowed(key);
    }
    let mut name = format!("{META}{key}");
    while job.metadata.contains_key(&name) {
        name.insert_str(0, META);
    }
    Cow::Owned(name)
}

fn cost(name: &str, value: &str) -> usize {
    json_bytes(name) + json_bytes(value) + PAIR_OVERHEAD_BYTES
}

/// The length of a text in JSON, without its quotes.
fn json_bytes(text: &str) -> usize {
    text.bytes()
        .map(|b| match b {
            b'"' | b'\\' => 2,
            0..=0x1f => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn args(metadata: &[(&str, &str)]) -> BTreeMap<String, String> {
        let document = serde_json::json!({
            "v": 1, "id": "job-1", "tenant": "acme", "from": {"email": "a@b.cc"}, "to": {"email": "d@e.ff"},
            "subject": "s", "text": "t"
        });
        let mut job = Job::parse(document.to_string().as_bytes()).unwrap();
        job.metadata = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let pairs = custom_args(&job, "3");
        let count = pairs.len();
        let args: BTreeMap<_, _> =
            pairs.into_iter().map(|(name, value)| (name.into_owned(), value.to_owned())).collect();
        assert_eq!(args.len(), count, "{args:?}");
        args
    }

    #[test]
    fn metadata_that_is_named_like_a_field_of_events_goes_out_beside_it() {
        let sent = args(&[
            ("attempt", "99"),
            ("meta_reason", "1"),
            ("order", "17"),
            ("reason", "2"),
            ("sg_event_id", "e"),
            ("tenant", "other"),
        ]);
        let expected = [
            ("job_id", "job-1"),
            ("meta_attempt", "99"),
            ("meta_meta_reason", "2"),
            ("meta_reason", "1"),
            ("meta_sg_event_id", "e"),
            ("meta_tenant", "other"),
            ("order", "17"),
            ("sluice_attempt", "3"),
            ("sluice_job_id", "job-1"),
            ("sluice_tenant", "acme"),
        ];
        assert!(sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{sent:?}");
    }

    #[test]
    fn metadata_never_hides_the_job_and_never_grows_too_long() {
        let (big, fits) = ("\"".repeat(6_000), "x".repeat(9_000));
        let sent = args(&[
            ("big", &big),
            ("fits", &fits),
            ("job_id", "other"),
            ("sluice_attempt", "99"),
            ("sluice_job_id", "other"),
        ]);
        let of = |name: &str| sent.get(name).map(String::as_str);
        assert_eq!((of("job_id"), of("sluice_job_id")), (Some("job-1"), Some("job-1")));
        assert_eq!(of("sluice_attempt"), Some("3"));
        assert!(of("big").is_none() && of("fits").is_some());
        assert!(serde_json::to_string(&sent).unwrap().len() < 10_000);
    }
}
