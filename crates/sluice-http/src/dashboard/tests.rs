use serde_json::Value;

use super::*;

/// What the script calls a value that came as JSON, and the schema of that value.
const NAMES: [(&str, &str); 16] = [
    ("system", "SystemStatus"),
    ("part", "Part"),
    ("fleet", "FleetView"),
    ("counts", "StatusView"),
    ("replica", "Replica"),
    ("campaign", "CampaignView"),
    ("espStatus", "EspStatus"),
    ("here", "BreakerView"),
    ("esp", "EspView"),
    ("breaker", "BreakerStatus"),
    ("quota", "Quota"),
    ("brake", "ScopeBrake"),
    ("warmUp", "WarmUp"),
    ("rateLimits", "RateLimitsView"),
    ("limit", "RateLimit"),
    ("answer", "ErrorBody"),
];

#[test]
fn every_key_that_the_script_reads_is_one_that_the_routes_answer() {
    let document: Value = serde_json::from_str(&crate::openapi()).unwrap();
    let script = SCRIPT.replace("?.", ".");
    let words = script.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    let paths: Vec<Vec<&str>> =
        words.map(|word| word.split('.').filter(|it| !it.is_empty()).collect()).collect();
    for (name, schema) in NAMES {
        let start = document.pointer(&format!("/components/schemas/{schema}"));
        let mut reads = 0;
        for path in paths.iter().filter(|path| path.len() > 1 && path.first() == Some(&name)) {
            let mut at = start.unwrap_or_else(|| panic!("no schema {schema}"));
            for key in path.iter().skip(1) {
                // What is no object has methods of the language.
                let Some(properties) = properties(&document, at) else { break };
                let found = properties.iter().find(|(property, _)| property == key);
                at = found.unwrap_or_else(|| panic!("{schema} has no {key}: {}", path.join("."))).1;
                reads += 1;
            }
        }
        assert!(reads > 0, "the script reads nothing of {name}");
    }
}

/// The fields of an object, also where it may be `null` or is made of several; `None` of anything else.
fn properties<'a>(document: &'a Value, schema: &'a Value) -> Option<Vec<(&'a str, &'a Value)>> {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return properties(document, document.pointer(target.strip_prefix('#')?)?);
    }
    let of_parts = ["allOf", "oneOf"].iter().filter_map(|word| schema.get(word)?.as_array()).flatten();
    let mut found: Vec<_> = of_parts.filter_map(|part| properties(document, part)).flatten().collect();
    if let Some(own) = schema.get("properties").and_then(Value::as_object) {
        found.extend(own.iter().map(|(name, it)| (name.as_str(), it)));
    }
    (!found.is_empty()).then_some(found)
}

#[test]
fn the_script_puts_in_text_alone_and_asks_nobody_else() {
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"] {
        assert!(!SCRIPT.contains(word), "{word}");
    }
    for file in [PAGE.as_str(), STYLE, SCRIPT] {
        for word in
            ["http:", "https:", "//cdn", "url(", "@import", " onclick", " onload", "<style", " style="]
        {
            assert!(!file.contains(word), "{word}");
        }
    }
}

#[test]
fn the_page_names_every_waiting_reason() {
    for reason in WaitReason::ALL {
        assert!(PAGE.contains(&format!("data-reason=\"{reason}\"")), "{reason}");
    }
    assert!(!PAGE.contains(REASONS));
}

#[test]
fn every_place_that_the_script_fills_is_on_the_page() {
    let quoted = SCRIPT.split("at(\"").skip(1).chain(SCRIPT.split("fill(\"").skip(1));
    let quoted = quoted.chain(SCRIPT.split("say(\"").skip(1)).chain(SCRIPT.split("table(\"").skip(1));
    for id in quoted.map(|rest| rest.split('"').next().unwrap()) {
        assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
    }
}
