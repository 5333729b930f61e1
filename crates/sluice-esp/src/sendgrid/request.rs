//! The body of `POST /v3/mail/send`, borrowed from the job.

use lettre::message::header::{Header as _, HeaderName, HeaderValue, Subject};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sluice_types::{Job, Mailbox};

use super::custom_args::{Pair, custom_args};

/// Writes `job` as JSON.
pub(super) fn body(job: &Job, attempt: u32) -> Result<Vec<u8>, serde_json::Error> {
    let attempt = attempt.to_string();
    let request = Request {
        personalizations: [Personalization { to: [(&job.to).into()] }],
        from: (&job.from).into(),
        reply_to: job.reply_to.as_ref().map(Into::into),
        subject: &job.subject,
        content: content(job),
        headers: Headers(job),
        custom_args: Pairs(custom_args(job, &attempt)),
    };
    let room = job.html.as_deref().map_or(0, str::len) + job.text.as_deref().map_or(0, str::len);
    let mut json = Vec::with_capacity(room + room / 8 + 1024);
    serde_json::to_writer(&mut json, &request)?;
    Ok(json)
}

#[derive(Serialize)]
struct Request<'a> {
    personalizations: [Personalization<'a>; 1],
    from: Party<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Party<'a>>,
    subject: &'a str,
    content: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Headers::is_empty")]
    headers: Headers<'a>,
    custom_args: Pairs<'a>,
}

#[derive(Serialize)]
struct Personalization<'a> {
    to: [Party<'a>; 1],
}

#[derive(Serialize)]
struct Party<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> From<&'a Mailbox> for Party<'a> {
    fn from(mailbox: &'a Mailbox) -> Self {
        Self { email: mailbox.email.as_str(), name: mailbox.name.as_deref() }
    }
}

#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    value: &'a str,
}

/// Text first, as SendGrid demands; an empty part is left out, since it refuses one.
fn content(job: &Job) -> Vec<Content<'_>> {
    [("text/plain", job.text.as_deref()), ("text/html", job.html.as_deref())]
        .into_iter()
        .filter_map(|(r#type, value)| Some(Content { r#type, value: value.filter(|it| !it.is_empty())? }))
        .collect()
}

struct Headers<'a>(&'a Job);

impl Headers<'_> {
    fn is_empty(&self) -> bool {
        self.0.headers.is_empty() && self.0.unsubscribe_url.is_none()
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.0.headers {
            match value.is_ascii() {
                true => map.serialize_entry(name, value)?,
                false => map.serialize_entry(name, &encoded(name, value))?,
            }
        }
        if let Some(url) = &self.0.unsubscribe_url {
            // RFC 8058.
            map.serialize_entry("List-Unsubscribe", &format_args!("<{url}>"))?;
            map.serialize_entry("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?;
        }
        map.end()
    }
}

/// A header's value in encoded words (RFC 2047), on one line; SendGrid hands on what it gets, and a header is ASCII.
fn encoded(name: &str, value: &str) -> String {
    // A job is checked where it is taken, so that its names are good ones; the name only counts for where a line ends.
    let name = HeaderName::new_from_ascii(name.to_owned()).unwrap_or_else(|_| Subject::name());
    let mut headers = lettre::message::header::Headers::new();
    headers.insert_raw(HeaderValue::new(name, value.to_owned()));
    let line = headers.to_string().replace("\r\n", "");
    line.split_once(": ").map(|(_, value)| value.to_owned()).unwrap_or_default()
}

struct Pairs<'a>(Vec<Pair<'a>>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(change: impl FnOnce(&mut Value)) -> Job {
        let mut document = json!({
            "v": 1, "id": "job-1", "tenant": "acme", "class": "bulk",
            "from": {"email": "news@acme.example", "name": "Acme"}, "to": {"email": "ada@gmail.com", "name": "Ada \"L\""},
            "reply_to": {"email": "help@acme.example"}, "subject": "Grüße", "html": "<p>Hi</p>", "text": "Hi",
            "headers": {"X-Thing": "1"}, "unsubscribe_url": "https://acme.example/u/abc", "metadata": {"order": "17"}
        });
        change(&mut document);
        Job::parse(document.to_string().as_bytes()).unwrap()
    }

    fn written(job: &Job) -> Value {
        serde_json::from_slice(&body(job, 3).unwrap()).unwrap()
    }

    #[test]
    fn a_full_job_is_written_field_by_field() {
        assert_eq!(
            written(&job(|_| {})),
            json!({
                "personalizations": [{"to": [{"email": "ada@gmail.com", "name": "Ada \"L\""}]}],
                "from": {"email": "news@acme.example", "name": "Acme"},
                "reply_to": {"email": "help@acme.example"},
                "subject": "Grüße",
                "content": [{"type": "text/plain", "value": "Hi"}, {"type": "text/html", "value": "<p>Hi</p>"}],
                "headers": {
                    "X-Thing": "1", "List-Unsubscribe": "<https://acme.example/u/abc>",
                    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"
                },
                "custom_args": {
                    "job_id": "job-1", "sluice_job_id": "job-1", "sluice_tenant": "acme", "sluice_attempt": "3", "order": "17"
                }
            })
        );
    }

    #[test]
    fn what_a_job_does_not_have_is_left_out() {
        let job = job(|it| {
            let it = it.as_object_mut().unwrap();
            it.retain(|key, _| ["v", "id", "subject", "html"].contains(&key.as_str()));
            it.insert("from".into(), json!({"email": "a@b.cc"}));
            it.insert("to".into(), json!({"email": "d@e.ff"}));
            it.insert("text".into(), json!(""));
        });
        assert_eq!(
            written(&job),
            json!({
                "personalizations": [{"to": [{"email": "d@e.ff"}]}], "from": {"email": "a@b.cc"}, "subject": "Grüße",
                "content": [{"type": "text/html", "value": "<p>Hi</p>"}],
                "custom_args": {
                    "job_id": "job-1", "sluice_job_id": "job-1", "sluice_tenant": "default", "sluice_attempt": "3"
                }
            })
        );
    }

    #[test]
    fn a_header_that_is_not_ascii_is_encoded() {
        let long = "ß ".repeat(300);
        let job = job(|it| {
            it["headers"] =
                json!({"X-Thing": "Größe", "X-Mixed": "a: Größe 12", "X-Long": long, "X-Plain": "=?"})
        });
        let written = written(&job);
        let of = |name: &str| written["headers"][name].as_str().unwrap().to_owned();
        assert_eq!(of("X-Thing"), "=?utf-8?b?R3LDtsOfZQ==?=");
        assert_eq!(of("X-Mixed"), "a: =?utf-8?b?R3LDtsOfZQ==?= 12");
        assert_eq!(of("X-Plain"), "=?");
        let long = of("X-Long");
        assert!(long.bytes().all(|b| (b' '..=b'~').contains(&b)), "{long}");
        assert!(
            long.split(' ')
                .filter(|it| !it.is_empty())
                .all(|it| it.starts_with("=?utf-8?b?") && it.len() <= 75),
            "{long}"
        );
    }
}
