//! The schema says the same as the reader.

use serde_json::Value;

use super::*;

/// Every section of the schema (`esp`, `esp.sandbox`, ...) with its keys. The top is the empty path. Sections whose name
/// is a domain group's are there once, for `gmail`.
pub(super) fn sections() -> Vec<(String, Vec<String>)> {
    let root = crate::json_schema().to_value();
    let mut found = Vec::new();
    walk(&root, &root, "", &mut found);
    found
}

fn walk(root: &Value, schema: &Value, path: &str, found: &mut Vec<(String, Vec<String>)>) {
    let schema = resolve(root, schema);
    if let Some(items) = schema.get("items") {
        walk(root, items, path, found);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        walk(root, values, &format!("{path}.gmail"), found);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    assert_eq!(schema.get("additionalProperties"), Some(&Value::Bool(false)), "{path}");
    found.push((path.to_owned(), properties.keys().cloned().collect()));
    for (key, property) in properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(root, property, &path, found);
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Every table of the text at a path, arrays walked.
pub(super) fn tables_at<'a>(root: &'a Table, path: &str) -> Vec<&'a Table> {
    let mut tables = vec![root];
    for key in path.split('.').filter(|key| !key.is_empty()) {
        tables = tables
            .iter()
            .filter_map(|table| table.get(key))
            .flat_map(|value| match value {
                toml::Value::Table(table) => vec![table],
                toml::Value::Array(items) => items.iter().filter_map(toml::Value::as_table).collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    tables
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let arrays = ["token", "esp", "pool", "members", "domain_group", "tenant"];
    let sections = sections();
    assert!(sections.len() > 20, "{sections:?}");
    assert!(sections.iter().any(|(path, _)| path == "esp.warmup.groups.gmail"), "{sections:?}");
    for (path, mut keys) in sections {
        let mut table = Table::from_iter([("bogus".to_owned(), 1.into())]);
        for key in path.rsplit('.').filter(|key| !key.is_empty()) {
            let value = toml::Value::Table(table);
            let value = if arrays.contains(&key) { toml::Value::Array(vec![value]) } else { value };
            table = Table::from_iter([(key.to_owned(), value)]);
        }
        let faults = load(&table.to_string()).unwrap_err();
        let fault = faults.0.iter().find(|fault| fault.key.ends_with("bogus")).unwrap();
        let known = fault.detail.strip_prefix("is not a known key; known here: ").unwrap();
        let mut known: Vec<_> = known.split(", ").map(str::to_owned).collect();
        known.sort();
        keys.sort();
        assert_eq!(known, keys, "{path}");
    }
}

#[test]
fn the_schema_has_docs_and_defaults() {
    let schema = crate::json_schema().to_value();
    assert_eq!(schema["properties"]["queue"]["$ref"], "#/$defs/Queue");
    let heartbeat = &schema["$defs"]["Queue"]["properties"]["heartbeat"];
    assert_eq!(heartbeat["default"], "15s");
    assert_eq!(heartbeat["type"], "string");
    assert!(heartbeat["description"].as_str().unwrap().contains("1s to 10min"));
    assert_eq!(schema["$defs"]["Worker"]["properties"]["prefetch_max"]["default"], 3000);
    assert_eq!(schema["$defs"]["Worker"]["properties"]["reserved_share"]["default"], 0.2);
    assert_eq!(schema["$defs"]["Brake"]["properties"]["recover"]["default"], "10min");
    assert_eq!(schema["$defs"]["Mx"]["properties"]["servers"]["default"], serde_json::json!([]));
    assert_eq!(schema["$defs"]["PoolConfig"]["properties"]["sticky"]["default"], "none");
    assert_eq!(schema["$defs"]["EspConfig"]["properties"]["warmup"]["$ref"], "#/$defs/Warmup");
    assert_eq!(
        schema["$defs"]["Warmup"]["properties"]["groups"]["additionalProperties"]["$ref"],
        "#/$defs/Ramp"
    );
    assert_eq!(schema["$defs"]["EspConfig"]["required"], serde_json::json!(["name", "kind"]));
    assert_eq!(schema["$defs"]["PoolConfig"]["required"], serde_json::json!(["name", "members"]));
}
