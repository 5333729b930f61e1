//! Jobs as the contract has them, about 1.5 KB each, and the number in their ids.

use sluice_testkit::peers::JobMessage;

/// Looks like any UUID; the last twelve digits are the job's number.
const ID_PREFIX: &str = "0192f0c1-6f0e-7c3a-b0de-";
const NUMBER_DIGITS: usize = 12;

/// A text free of what JSON would have to escape.
pub(crate) const PARAGRAPH: &str = "Thank you for reading our news of this season. We have put together what our readers \
    asked for most often, with a few words of our own on each, and where to find out more about it. ";

/// Who a job is for, and by which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) pool: &'static str,
    pub(crate) class: &'static str,
    pub(crate) domain: String,
}

impl Address {
    /// Bulk of the pool `default`.
    pub(crate) fn bulk(domain: &str) -> Self {
        Self { pool: "default", class: "bulk", domain: domain.to_owned() }
    }

    /// The same as transactional mail.
    pub(crate) fn transactional(domain: &str) -> Self {
        Self { class: "transactional", ..Self::bulk(domain) }
    }
}

/// The id of job `number`.
pub(crate) fn id(number: usize) -> String {
    format!("{ID_PREFIX}{number:012x}")
}

/// The number in an id.
pub(crate) fn number(id: &[u8]) -> Option<usize> {
    let digits = id.strip_prefix(ID_PREFIX.as_bytes()).filter(|digits| digits.len() == NUMBER_DIGITS)?;
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Job `number` to `address`.
pub(crate) fn message(number: usize, address: &Address) -> JobMessage {
    let Address { pool, class, domain } = address;
    JobMessage {
        routing_key: format!("{pool}.{class}.{domain}"),
        message_id: Some(id(number)),
        body: body(number, address).into(),
    }
}

/// Its body; every text is free of what JSON would have to escape.
pub(crate) fn body(number: usize, address: &Address) -> String {
    let Address { pool, class, domain } = address;
    let id = id(number);
    let html: String = (0..4).map(|_| format!("<p>{PARAGRAPH}</p>")).collect();
    format!(
        concat!(
            r#"{{"v":1,"id":"{id}","tenant":"acme","class":"{class}","pool":"{pool}","campaign":"spring-sale","#,
            r#""from":{{"email":"news@acme.example","name":"Acme"}},"to":{{"email":"u{number}@{domain}","name":"Ada"}},"#,
            r#""reply_to":{{"email":"help@acme.example"}},"subject":"Hello {{{{ first_name }}}}","#,
            r#""html":"<p>Hello {{{{ first_name }}}}</p>{html}","text":"Hello {{{{ first_name }}}}, {text}","#,
            r#""vars":{{"first_name":"Ada"}},"headers":{{"X-Thing":"1"}},"#,
            r#""unsubscribe_url":"https://acme.example/u/{number}","metadata":{{"order":"17"}}}}"#
        ),
        id = id,
        class = class,
        pool = pool,
        number = number,
        domain = domain,
        html = html,
        text = PARAGRAPH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_json_of_about_one_and_a_half_kilobytes() {
        let text = body(123_456, &Address::bulk("gmail.com"));
        assert!((1_350..=1_650).contains(&text.len()), "{}", text.len());
        let job: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(job["id"], id(123_456));
        assert_eq!(job["subject"], "Hello {{ first_name }}");
        assert_eq!(job["to"]["email"], "u123456@gmail.com");
    }

    #[test]
    fn the_number_comes_back_out_of_the_id() {
        assert_eq!(number(id(0).as_bytes()), Some(0));
        assert_eq!(number(id(300_000).as_bytes()), Some(300_000));
        for other in ["", "0192f0c1-6f0e-7c3a-b0de-", "0192f0c1-6f0e-7c3a-b0de-00000000000g", "x"] {
            assert_eq!(number(other.as_bytes()), None, "{other}");
        }
        assert_eq!(number(format!("{}0", id(1)).as_bytes()), None);
    }
}
