use std::collections::BTreeSet;

use axum::routing::MethodFilter;

use super::*;
use crate::routes::routes;

fn document() -> Value {
    serde_json::from_str(&openapi()).unwrap()
}

/// Every operation: method, path, scope.
fn described() -> BTreeSet<(String, String, Option<String>)> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| {
            let scope = operation.pointer("/security/0/token/0").and_then(Value::as_str);
            (method.clone(), path.clone(), scope.map(str::to_owned))
        })
    });
    operations.collect()
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let word = |method| match method {
        MethodFilter::GET => "get",
        MethodFilter::PUT => "put",
        MethodFilter::POST => "post",
        MethodFilter::DELETE => "delete",
        _ => panic!("{method:?}"),
    };
    let served: BTreeSet<_> = routes()
        .iter()
        .map(|it| {
            let scope = it.needs.map(|scope| scope.as_str().to_owned());
            (word(it.method).to_owned(), it.path.replace("{*", "{"), scope)
        })
        .collect();
    assert_eq!(described(), served);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target);
                }
                members.values().for_each(|it| references(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/JobDocument"), "{found:?}");
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

#[test]
fn every_operation_says_what_it_is_for_and_what_it_answers() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap();
            assert!(!summary.is_empty() && !summary.ends_with('.'), "{method} {path}: {summary}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{method} {path}");
            assert_eq!(responses.contains_key("401"), operation.get("security").is_some(), "{method} {path}");
        }
    }
    let scheme = document.pointer("/components/securitySchemes/token").unwrap();
    assert_eq!((scheme["type"].as_str(), scheme["scheme"].as_str()), (Some("http"), Some("bearer")));
}

#[test]
fn the_closed_lists_are_those_of_the_types() {
    let document = document();
    for (name, word) in [
        ("JobStateWord", "pending"),
        ("WaitReasonWord", "warm_up"),
        ("CategoryWord", "throttled"),
        ("LimitWord", "gone"),
        ("Order", "running"),
    ] {
        let words = document.pointer(&format!("/components/schemas/{name}/enum")).unwrap();
        assert!(words.as_array().unwrap().contains(&word.into()), "{name}: {words}");
    }
}
