//! `sluice schema`.

use crate::rig::Rig;

#[test]
fn the_schemas_are_json_schemas_of_what_is_read() {
    let rig = Rig::new();
    for (subject, keys) in [
        ("job", &["v", "id", "from", "to", "subject", "expires_at"][..]),
        ("config", &["queue", "store", "esp", "pool", "domain_group"]),
    ] {
        let said = rig.run(&["schema", subject]);
        assert_eq!(said.code, 0);
        let schema = said.json();
        assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{subject}");
        for key in keys {
            assert!(schema["properties"].get(key).is_some(), "{subject}: {key}");
        }
        assert_eq!(schema["additionalProperties"], false, "{subject}");
    }
    let job = rig.run(&["schema", "job"]).json();
    let required: Vec<&str> =
        job["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(required, ["v", "id", "from", "to", "subject"]);
}

#[test]
fn the_openapi_document_names_the_routes_of_the_contract() {
    let rig = Rig::new();
    let said = rig.run(&["schema", "openapi"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let document = said.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{}", document["openapi"]);
    for route in ["/health", "/ready", "/jobs", "/system/status", "/esp/status", "/rate-limits/status"] {
        assert!(document["paths"].get(route).is_some(), "{route}");
    }
}

#[test]
fn the_asyncapi_document_says_where_jobs_go() {
    let rig = Rig::new();
    let said = rig.run(&["schema", "asyncapi"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let document = said.json();
    assert_eq!(document["asyncapi"], "3.0.0");
    let jobs = &document["channels"]["jobs"];
    assert_eq!(jobs["bindings"]["amqp"]["exchange"]["name"], "sluice.jobs");
    assert_eq!(jobs["address"], "{pool}.{class}.{domain}");
    assert_eq!(document["channels"]["dead"]["bindings"]["amqp"]["queue"]["name"], "sluice.dead");
    let job = rig.run(&["schema", "job"]).json();
    assert_eq!(document["components"]["schemas"]["Job"]["required"], job["required"]);
    assert!(!rig.store().exists(), "a schema opens nothing");
}
