use std::collections::BTreeSet;

use sluice_types::Job;

use super::*;

/// Every reference of the document, wherever it stands.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() >= 8, "{found:?}");
    for reference in found {
        let pointer =
            reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

/// The fields that AsyncAPI 3.0 requires, and those that it knows, of each object that is here.
#[test]
fn every_object_has_what_the_language_asks_for() {
    let document = document();
    check(&document, &["asyncapi", "info"], &["defaultContentType", "channels", "operations", "components"]);
    assert_eq!(document["asyncapi"], "3.0.0");
    check(&document["info"], &["title", "version"], &["description"]);
    for (name, channel) in document["channels"].as_object().unwrap() {
        let known = ["address", "title", "description", "messages", "parameters", "bindings"];
        check(channel, &["messages"], &known);
        let address = channel["address"].as_str().unwrap();
        let named: BTreeSet<&str> =
            address.split(['{', '}']).skip(1).step_by(2).filter(|name| !name.is_empty()).collect();
        let parameters = channel["parameters"].as_object();
        let given: BTreeSet<&str> = parameters.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, given, "{name}");
        let bindings = &channel["bindings"]["amqp"];
        let place = if bindings["is"] == "queue" { "queue" } else { "exchange" };
        check(bindings, &["is", place, "bindingVersion"], &[]);
    }
    for operation in document["operations"].as_object().unwrap().values() {
        let known = ["title", "summary", "messages", "bindings"];
        check(operation, &["action", "channel"], &known);
        assert!(["send", "receive"].contains(&operation["action"].as_str().unwrap()));
        // Messages of an operation are those of its channel.
        let channel = operation["channel"]["$ref"].as_str().unwrap();
        for message in operation["messages"].as_array().unwrap() {
            assert!(message["$ref"].as_str().unwrap().starts_with(&format!("{channel}/messages/")));
        }
    }
    for message in document["components"]["messages"].as_object().unwrap().values() {
        let known =
            ["name", "title", "summary", "description", "contentType", "examples", "x-amqp-properties"];
        check(message, &["headers", "payload"], &known);
        assert_eq!(message["headers"]["type"], "object");
    }
}

fn check(object: &Value, required: &[&str], known: &[&str]) {
    let object = object.as_object().unwrap();
    for key in required {
        assert!(object.contains_key(*key), "{key} is missing: {object:?}");
    }
    for key in object.keys() {
        assert!(required.contains(&key.as_str()) || known.contains(&key.as_str()), "{key} is not known");
    }
}

#[test]
fn the_job_is_that_of_the_job_schema() {
    let document = document();
    let job = &document["components"]["schemas"]["Job"];
    let own = schemars::schema_for!(JobDocument).to_value();
    let keys = |schema: &Value| -> Vec<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(job), keys(&own));
    for same in ["required", "additionalProperties", "title"] {
        assert_eq!(job[same], own[same], "{same}");
    }
    assert!(job.get("$schema").is_none() && job.get("definitions").is_none());
}

#[test]
fn the_example_is_a_job() {
    Job::parse(smallest_job().to_string().as_bytes()).unwrap();
}

#[test]
fn the_names_are_those_that_are_declared() {
    let document = document();
    let plan = sluice_amqp::TopologyPlan { results: true, ..Default::default() };
    let topology = plan.topology(5);
    let results = &document["channels"]["results"]["bindings"]["amqp"]["exchange"];
    assert!(topology.exchanges.iter().any(|it| results["name"] == *it.name));
    let jobs = &document["channels"]["jobs"]["bindings"]["amqp"]["exchange"];
    let declared = topology.exchanges.iter().find(|it| jobs["name"] == *it.name).unwrap();
    assert_eq!(declared.kind, sluice_amqp::ExchangeType::Topic);
    let dead = &document["channels"]["dead"]["bindings"]["amqp"]["queue"];
    assert!(topology.queues.iter().any(|it| dead["name"] == *it.name));
}
