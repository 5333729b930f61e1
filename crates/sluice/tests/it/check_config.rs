//! `sluice check-config`, and what every other command does with a configuration that does not stand.

use crate::rig::Rig;

const FAULTY: &str = r#"
[queue]
kind = "rabbitmq"
[store]
kind = "postgres"
[htp]
listen = "off"
[[esp]]
name = "main"
kind = "sendgrid"
limits = ["100 a second"]
[[pool]]
name = "default"
members = [{ esp = "mian" }]
"#;

#[test]
fn the_embedded_default_is_ok() {
    let rig = Rig::new();
    let said = rig.run(&["check-config"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("ok\n"), "{}", said.out);
    insta::assert_snapshot!(said.out);
    assert!(!rig.store().exists(), "a check opens nothing");
}

#[test]
fn all_faults_are_told_at_once() {
    let rig = Rig::new();
    rig.file("sluice.toml", FAULTY);
    let said = rig.run(&["check-config", "--config", "sluice.toml"]);
    assert_eq!((said.code, said.out.as_str()), (78, ""));
    for key in
        ["htp", "queue.url", "store.url", "esp[0].limits[0]", "esp[0].api_key", "pool[0].members[0].esp"]
    {
        let told = said.err.lines().any(|line| line.starts_with(&format!("{key}: ")));
        assert!(told, "{key}: {}", said.err);
    }
}

#[test]
fn faults_are_json_for_machines() {
    let rig = Rig::new();
    rig.file("sluice.toml", "[htp]\n[sotre]\n");
    let said = rig.run(&["--config", "sluice.toml", "check-config", "--format", "json"]);
    assert_eq!(said.code, 78);
    let told = said.json();
    assert_eq!(told["ok"], false);
    assert_eq!(told["faults"].as_array().unwrap().len(), 2, "{told}");
}

#[test]
fn warnings_do_not_fail_the_check() {
    let rig = Rig::new();
    let spare =
        "[[esp]]\nname = \"spare\"\nkind = \"sandbox\"\n[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n";
    let pool = "[[pool]]\nname = \"default\"\nmembers = [{ esp = \"main\" }]\n";
    rig.file("sluice.toml", format!("{spare}{pool}"));
    let said = rig.run(&["check-config", "--config", "sluice.toml"]);
    assert_eq!(said.code, 0);
    assert!(said.err.contains("warning: esp[0]: no pool uses `spare`"), "{}", said.err);
    let told = rig.json(&["check-config", "--config", "sluice.toml"]);
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(told["lanes"].as_array().unwrap().len(), 10);
}

#[test]
fn every_command_exits_78_on_a_wrong_configuration() {
    let rig = Rig::new();
    rig.file("jobs.jsonl", "");
    for args in [&["status"][..], &["run"], &["migrate"], &["enqueue", "jobs.jsonl"], &["dead", "list"]] {
        let said = rig.run(&[&["--config", "nowhere.toml"], args].concat());
        assert_eq!(said.code, 78, "{args:?}: {said:?}");
        assert!(said.err.contains("cannot read nowhere.toml"), "{}", said.err);
    }
}

#[test]
fn smtp_stands_in_for_the_sandbox_only() {
    let rig = Rig::new();
    rig.file("sluice.toml", "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n");
    let said = rig.run(&["run", "--config", "sluice.toml", "--smtp", "smtps://u:hunter2@mail.example"]);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("--smtp: stands in for the sandbox"), "{}", said.err);
    let said = rig.run(&["run", "--smtp", "https://u:hunter2@mail.example"]);
    assert_eq!(said.code, 78, "{said:?}");
    assert!(said.err.contains("--smtp: must be an address like"), "{}", said.err);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}
