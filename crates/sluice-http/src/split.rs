//! Takes a list of jobs apart without changing a byte of any of them: a job's fingerprint is that of its text.

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most jobs in one request.
pub(crate) const JOBS_MAX: usize = 1_000;

/// The jobs of one request, each as its publisher wrote it, without the white space around it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// Anything but a list.
    One(Bytes),
    /// A list.
    Many(Vec<Bytes>),
}

/// A body that holds no jobs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    #[error("the body is empty; send one job or a list of jobs")]
    Empty,
    #[error("the body is not UTF-8 (first bad byte at {0})")]
    NotUtf8(usize),
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    #[error("the list holds no job")]
    NoJobs,
    #[error("the list holds {0} jobs, at most {JOBS_MAX} are allowed at once")]
    TooMany(usize),
}

/// Takes a body apart. The depth of nesting does not matter here: nothing recurses.
pub(crate) fn split(body: &Bytes) -> Result<Jobs, SplitError> {
    let text = std::str::from_utf8(body).map_err(|error| SplitError::NotUtf8(error.valid_up_to()))?;
    let trimmed = text.trim_ascii_start();
    if trimmed.is_empty() {
        return Err(SplitError::Empty);
    }
    let not_json =
        |error: serde_json::Error| SplitError::NotJson { line: error.line(), column: error.column() };
    if !trimmed.starts_with('[') {
        let one: &RawValue = serde_json::from_str(text).map_err(not_json)?;
        return Ok(Jobs::One(body.slice_ref(one.get().as_bytes())));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let list =
        reader.deserialize_seq(ListVisitor).and_then(|list| reader.end().map(|()| list)).map_err(not_json)?;
    match list.elements.len() + list.beyond {
        0 => Err(SplitError::NoJobs),
        count if count > JOBS_MAX => Err(SplitError::TooMany(count)),
        _ => {
            Ok(Jobs::Many(list.elements.into_iter().map(|it| body.slice_ref(it.get().as_bytes())).collect()))
        }
    }
}

/// The first elements of a list, and how many came after them.
struct List<'a> {
    elements: Vec<&'a RawValue>,
    beyond: usize,
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<'de>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < JOBS_MAX {
            match list.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(List { elements, beyond: 0 }),
            }
        }
        let mut beyond = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            beyond += 1;
        }
        Ok(List { elements, beyond })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<Jobs, SplitError>) {
        assert_eq!(split(&Bytes::copy_from_slice(body.as_bytes())), expected, "{body:?}");
    }

    fn many(texts: &[&'static str]) -> Jobs {
        Jobs::Many(texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect())
    }

    #[test]
    fn every_element_keeps_its_bytes() {
        let spaced = r#"{ "b" : 1.0, "a": 1e2,"ä":"\u00e4" }"#;
        check(&format!("\n {spaced}\r\n"), Ok(Jobs::One(Bytes::from(spaced))));
        check(
            r#" [ { "b" : 1.0, "a": 1e2 } ,{}, 12345678901234567890123, "x",[1, 2],null ] "#,
            Ok(many(&[
                r#"{ "b" : 1.0, "a": 1e2 }"#,
                "{}",
                "12345678901234567890123",
                "\"x\"",
                "[1, 2]",
                "null",
            ])),
        );
    }

    #[test]
    fn what_is_no_list_is_one() {
        check("5", Ok(Jobs::One(Bytes::from_static(b"5"))));
        check("\"[]\"", Ok(Jobs::One(Bytes::from_static(b"\"[]\""))));
    }

    #[test]
    fn what_is_not_json_is_told_where() {
        check("", Err(SplitError::Empty));
        check(" \n\t", Err(SplitError::Empty));
        check("[]", Err(SplitError::NoJobs));
        check("{\"a\":1}\nx", Err(SplitError::NotJson { line: 2, column: 1 }));
        check("[{}", Err(SplitError::NotJson { line: 1, column: 3 }));
        check("[{},]", Err(SplitError::NotJson { line: 1, column: 5 }));
        check("[{}] []", Err(SplitError::NotJson { line: 1, column: 6 }));
        check("\u{feff}{}", Err(SplitError::NotJson { line: 1, column: 1 }));
        assert_eq!(split(&Bytes::from_static(b"[{\"a\":\"\xff\"}]")), Err(SplitError::NotUtf8(7)));
    }

    #[test]
    fn a_list_has_a_bound() {
        let list = |count: usize| Bytes::from(format!("[{}]", vec!["{}"; count].join(",")));
        let Ok(Jobs::Many(jobs)) = split(&list(JOBS_MAX)) else { panic!("refused") };
        assert_eq!(jobs.len(), JOBS_MAX);
        assert_eq!(split(&list(JOBS_MAX + 1)), Err(SplitError::TooMany(JOBS_MAX + 1)));
        let unclosed = list(JOBS_MAX + 5);
        assert!(matches!(split(&unclosed.slice(..unclosed.len() - 1)), Err(SplitError::NotJson { .. })));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let Ok(Jobs::Many(jobs)) = split(&Bytes::from(deep)) else { panic!("refused") };
        assert_eq!(jobs.len(), 1);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(split(&Bytes::from(deep)), Ok(Jobs::One(_))));
    }
}
