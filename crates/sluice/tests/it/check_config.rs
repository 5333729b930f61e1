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
fn what_would_stop_run_is_told() {
    let rig = Rig::new();
    // A key of another curve, in the same form.
    let p384 = format!("MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE{}", "A".repeat(128));
    let sendgrid = format!(
        "[[esp]]\nname = \"main\"\nkind = \"sendgrid\"\napi_key = \"x\"\nwebhook_public_key = \"{p384}\"\n\
         [[pool]]\nname = \"default\"\nmembers = [{{ esp = \"main\" }}]\n"
    );
    let filter = "[log]\nfilter = \"info,sluice_engine=debgu\"\n".to_owned();
    for (config, key) in [(sendgrid, "esp[0].webhook_public_key"), (filter, "log.filter")] {
        rig.file("sluice.toml", config);
        for command in ["check-config", "run", "status"] {
            let said = rig.run(&["--config", "sluice.toml", command]);
            assert_eq!(said.code, 78, "{command}: {said:?}");
            assert!(said.err.lines().any(|line| line.starts_with(&format!("{key}: "))), "{}", said.err);
        }
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

#[test]
fn what_the_fleet_shares_is_shown() {
    let rig = Rig::new();
    let config = r#"
[worker]
reserved_share = 0.35
[mx]
enabled = false
[[esp]]
name = "main"
kind = "sandbox"
[esp.warmup]
preset = "sparkpost"
[esp.warmup.groups.gmail]
caps = [10, 20]
hold_above = 0.1
[[pool]]
name = "default"
sticky = "tenant"
members = [{ esp = "main" }]
[[tenant]]
name = "acme"
weight = 3
limits = ["5/s"]
"#;
    rig.file("sluice.toml", config);
    let said = rig.run(&["check-config", "--config", "sluice.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    for line in [
        "mx lookups    off",
        "reserved      35% of counted limits and of the places in work, for transactional jobs",
        "esp:main                29  200 500 1000 2000 5000 10000 .. 10000000  5%",
        "esp:main/group:gmail     2  10 20                                     10%",
        "default  main x100  -         tenant",
        "acme         3  5/s",
    ] {
        assert!(said.out.lines().any(|it| it == line), "{line}\n{}", said.out);
    }
    let told = rig.json(&["check-config", "--config", "sluice.toml"]);
    let digest = told["fleet_digest"].as_str().unwrap();
    assert!(said.out.contains(&format!("fleet digest  {digest}")), "{}", said.out);
    assert_eq!(told["warmups"][1]["caps"], serde_json::json!([10, 20]));
    assert_eq!((&told["mx"], &told["reserved_share"]), (&false.into(), &0.35.into()));
    assert_eq!((&told["tenants"][0]["weight"], &told["pools"][0]["sticky"]), (&3.into(), &"tenant".into()));
}

#[test]
fn the_variable_names_the_file_unless_it_is_empty() {
    let rig = Rig::new();
    rig.file("faulty.toml", FAULTY);
    for (named, code) in [("faulty.toml", 78), ("", 0)] {
        let said = rig.command(&["check-config"]).env("SLUICE_CONFIG", named).output().unwrap();
        assert_eq!(said.status.code(), Some(code), "{named:?}");
    }
}
