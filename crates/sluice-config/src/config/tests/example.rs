//! The example file in `deploy/`, and the example of the contract.

use sluice_types::LimitSpec;

use super::*;
use crate::{EspKind, StoreKind};

const EXAMPLE: &str = include_str!("../../../../../deploy/config.example.toml");

/// `[..]` and `key = ..` lines that are commented out, switched on; without the files of secrets that are there as text.
fn everything() -> String {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split(" = ").next().unwrap_or_default();
        let is_key = bare.contains(" = ")
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let is_file = matches!(key, "url_file" | "api_key_file");
        if (is_key && !is_file) || bare.starts_with('[') {
            text.push_str(bare);
            text.push('\n');
        }
    }
    text.replacen("\"embedded\"", "\"rabbitmq\"", 1).replacen("\"embedded\"", "\"postgres\"", 1)
}

#[test]
fn the_example_is_the_default() {
    assert!(same(&load(EXAMPLE).unwrap(), &Config::default()));
}

#[test]
fn what_the_example_has_in_comments_is_right_too() {
    let config = load(&everything()).unwrap();
    let unused: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    let plain = "queue.url: is without TLS (amqp://), so the tls files are not used; amqps:// uses them";
    assert_eq!(unused, [plain, "esp[2]: no pool uses `sandbox`"]);
    assert_eq!(config.esps.len(), 3);
    assert_eq!(config.esps[0].max_in_flight, 256);
    assert_eq!(config.esps[0].timeout, Duration::from_secs(30));
    assert_eq!(config.tenants.len(), 1);
    assert_eq!(config.esps[0].warmup.as_ref().unwrap().caps.len(), 17);
    assert_eq!(config.esps[1].warmup.as_ref().unwrap().groups.len(), 1);
    assert_eq!(config.http.tokens.len(), 1);
}

#[test]
fn the_example_has_every_key() {
    let example: Table = everything().parse().unwrap();
    let with_files = format!("{EXAMPLE}\nurl_file api_key_file");
    for (path, keys) in schema::sections() {
        let mut tables = schema::tables_at(&example, &path);
        assert!(!tables.is_empty(), "the example has no section {path}");
        // The ways to say a ramp exclude each other, so they are shown over several.
        if path.starts_with("esp.warmup") {
            tables = schema::tables_at(&example, "esp.warmup");
            tables.extend(schema::tables_at(&example, "esp.warmup.groups.gmail"));
        }
        for key in keys {
            let found = tables.iter().any(|table| table.contains_key(&key));
            let is_file = key.ends_with("_file") && with_files.contains(&format!("# {key} = "));
            assert!(found || is_file, "the example lacks {path}.{key}");
        }
    }
}

#[test]
fn the_example_of_the_contract_is_read() {
    let config = load(
        r#"
[queue]
kind = "rabbitmq"                     # default "embedded"
url = "amqp://guest:guest@127.0.0.1:5672/%2f"

[store]
kind = "postgres"                     # default "embedded"
url = "postgres://postgres@127.0.0.1:5432/postgres"

[http]
listen = "127.0.0.1:8025"             # health, metrics, API, dashboard

[[esp]]
name = "sendgrid-main"
kind = "sendgrid"                     # smtp, sendgrid, ses, mailgun, postmark, resend, sparkpost, brevo, mailjet, sandbox
base_url = "https://api.sendgrid.com" # may point at a stand-in
api_key_file = "/run/secrets/sendgrid"
limits = ["100/s burst 100", "50000/h", "1000000/day"]
max_in_flight = 256
timeout = "30s"

[[pool]]
name = "default"
members = [{ esp = "sendgrid-main", weight = 100 }]
failover = []

[[domain_group]]
name = "gmail"
domains = ["gmail.com", "googlemail.com"]
mx = ["google.com", "googlemail.com"]
limits = ["50/s"]                     # over all ESPs
limits_per_esp = ["20/s"]
"#,
    )
    .unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.queue.kind, QueueKind::Rabbitmq);
    assert_eq!(config.store.kind, StoreKind::Postgres);
    assert_eq!(config.esps[0].kind, EspKind::Sendgrid);
    assert_eq!(config.esps[0].limits.len(), 3);
    assert_eq!(config.pools[0].members[0].weight, 100);
    assert_eq!(config.groups[0].limits_per_esp, ["20/s".parse::<LimitSpec>().unwrap()]);
    assert_eq!(config.groups.len(), 2);
}
