//! docker-compose.yml, the Dockerfile and the Prometheus files name what the code has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// YAML through Python's parser: no YAML crate is worth its place for one test.
fn yaml(path: &str) -> Value {
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new(sluice_testkit::peers::python())
        .args(["-c", program])
        .arg(root().join(path))
        .output()
        .unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn replicas(compose: &Value) -> Vec<(&String, &Value)> {
    let services = compose["services"].as_object().unwrap();
    services.iter().filter(|(name, _)| name.starts_with("sluice")).collect()
}

#[test]
fn compose_has_two_replicas_their_servers_and_prometheus() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    assert_eq!(replicas(&compose).len(), 2);
    for name in ["rabbitmq", "postgres", "prometheus"] {
        assert!(services.contains_key(name), "{name}");
    }
}

#[test]
fn every_mounted_file_is_there() {
    let compose = yaml("docker-compose.yml");
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            if source.starts_with("./") {
                assert!(root().join(source).is_file(), "{name} mounts {source}, which is not there");
            }
        }
    }
    assert!(root().join("deploy/Dockerfile").is_file());
}

#[test]
fn the_replicas_configuration_stands() {
    let compose = yaml("docker-compose.yml");
    for (name, service) in replicas(&compose) {
        let mut command = Command::new(sluice_testkit::services::sluice_binary());
        command
            .args(["check-config", "--format", "json", "--config"])
            .arg(root().join("deploy/compose/sluice.toml"));
        for (key, value) in service["environment"].as_object().unwrap() {
            // Compose fills `${NAME:-default}` in; here the default.
            let value = value
                .as_str()
                .unwrap()
                .replace("${SLUICE_MQ_PASSWORD:-", "")
                .replace("${SLUICE_DB_PASSWORD:-", "")
                .replace('}', "");
            assert!(key.starts_with("SLUICE__"), "{key}");
            command.env(key, value);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn ports_agree() {
    let compose = yaml("docker-compose.yml");
    let config: toml::Table = read("deploy/compose/sluice.toml").parse().unwrap();
    let listen = config["http"]["listen"].as_str().unwrap();
    let port = listen.rsplit(':').next().unwrap();
    assert!(read("deploy/Dockerfile").contains(&format!("EXPOSE {port}")));
    let mut published = BTreeSet::new();
    for (name, service) in replicas(&compose) {
        let ports = service["ports"][0].as_str().unwrap();
        assert!(ports.ends_with(&format!(":{port}")), "{name}: {ports}");
        assert!(
            ports.starts_with("127.0.0.1:"),
            "{name} is published beyond this machine without a token: {ports}"
        );
        assert!(published.insert(ports.to_owned()), "{ports} twice");
    }
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let targets: BTreeSet<&str> = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target.as_str().unwrap())
        .collect();
    let expected: BTreeSet<String> =
        replicas(&compose).iter().map(|(name, _)| format!("{name}:{port}")).collect();
    assert_eq!(targets, expected.iter().map(String::as_str).collect());
}

#[test]
fn the_rules_name_metrics_that_exist() {
    let source = read("crates/sluice-telemetry/src/metrics.rs");
    let rules = yaml("deploy/prometheus/rules.yml");
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let job = prometheus["scrape_configs"][0]["job_name"].as_str().unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let expr = rule["expr"].as_str().unwrap();
        let names: Vec<&str> = expr
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("sluice_"))
            .collect();
        assert!(!names.is_empty() || expr.contains(&format!("up{{job=\"{job}\"}}")), "{expr}");
        for name in names {
            assert!(source.contains(&format!("\"{name}\"")), "{name} in {expr} is no metric of ours");
        }
    }
}

/// Nothing else would tell that it was lost but slower replicas.
#[test]
fn the_images_allocator_has_one_arena() {
    assert!(read("deploy/Dockerfile").contains("\nCOPY .cargo .cargo\n"));
    let settings = read(".cargo/config.toml");
    let has_one = |line: &str| line == r#"JEMALLOC_SYS_WITH_MALLOC_CONF = "narenas:1""#;
    assert!(settings.lines().skip_while(|line| *line != "[env]").any(has_one), "{settings}");
}

#[test]
fn the_image_runs_as_nobody_special_and_copies_what_is_there() {
    let dockerfile = read("deploy/Dockerfile");
    assert!(dockerfile.lines().any(|line| line.starts_with("USER ") && line != "USER root"));
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{line}: {source} is not there");
        }
    }
    let toolchain = dockerfile.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    let minimum = read("Cargo.toml");
    let minimum = minimum
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .unwrap()
        .trim_end_matches('"');
    assert!(toolchain.starts_with(minimum), "{toolchain} is not {minimum}");
}
