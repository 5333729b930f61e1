//! Variables over text.

use std::net::SocketAddr;

use secrecy::ExposeSecret;

use super::*;

fn load_with(toml: &str, overlay: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    let overlay: Vec<_> = overlay.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    Config::load(toml, &overlay, &files)
}

#[test]
fn a_variable_has_the_type_of_its_key() {
    let config = load_with(
        "[worker]\nhold_max = '1s'\n[http]\nallow_unauthenticated = false",
        &[
            ("SLUICE__QUEUE__KIND", "rabbitmq"),
            ("SLUICE__QUEUE__URL", "amqp://guest:guest@mq.example"),
            ("SLUICE__STORE__KIND", "\"postgres\""),
            ("SLUICE__STORE__URL", "postgres://db.example"),
            ("SLUICE__STORE__POOL_SIZE", "16"),
            ("SLUICE__HTTP__LISTEN", "0.0.0.0:80"),
            ("SLUICE__HTTP__ALLOW_UNAUTHENTICATED", "true"),
            ("SLUICE__WORKER__HOLD_MAX", "2s"),
            ("SLUICE__BREAKER__FAILURE_RATE", "0.25"),
            ("SLUICE__WORKER__RESERVED_SHARE", "0.5"),
            ("SLUICE__MX__SERVERS__0", "10.0.0.2"),
            ("SLUICE__RETRY__BULK__MAX", "2h"),
            ("SLUICE__ESP__0__NAME", "main"),
            ("SLUICE__ESP__0__KIND", "sendgrid"),
            // A key of digits stays the text that it is.
            ("SLUICE__ESP__0__API_KEY", "1_000"),
            ("SLUICE__ESP__0__LIMITS", "[\"10/s\", \"5 connections\"]"),
            ("SLUICE__ESP__1__NAME", "spare"),
            ("SLUICE__ESP__1__KIND", "sandbox"),
            ("SLUICE__ESP__1__SANDBOX__LATENCY", "5ms"),
            ("SLUICE__POOL__0__NAME", "default"),
            ("SLUICE__POOL__0__MEMBERS__0__ESP", "main"),
            ("SLUICE__POOL__0__MEMBERS__0__WEIGHT", "7"),
            ("SLUICE__POOL__0__FAILOVER__0", "spare"),
            ("SLUICE_CONFIG", "elsewhere"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.store.pool_size, 16);
    assert_eq!(config.http.listen, Some(SocketAddr::from(([0, 0, 0, 0], 80))));
    assert_eq!(config.worker.hold_max, Duration::from_secs(2));
    assert!((config.breaker.failure_rate - 0.25).abs() < f64::EPSILON);
    assert!((config.worker.reserved_share - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.mx.servers, [SocketAddr::from(([10, 0, 0, 2], 53))]);
    assert_eq!(config.retry.bulk.max, Duration::from_secs(7200));
    assert_eq!(config.esps[0].api_key.as_ref().unwrap().expose_secret(), "1_000");
    assert_eq!(config.esps[0].limits.len(), 2);
    assert_eq!(config.esps[1].sandbox.latency, Duration::from_millis(5));
    assert_eq!(config.pools[0].members[0].weight, 7);
    assert_eq!(config.pools[0].failover[0].as_str(), "spare");
}

#[test]
fn a_faulty_variable_is_named() {
    let faults = load_with(
        "",
        &[
            ("SLUICE__QUEUE__URLL", "x"),
            ("SLUICE__QUEU__URL", "x"),
            ("SLUICE__STORE__POOL_SIZE", "many"),
            ("SLUICE__WORKER__HOLD_MAX", "5"),
            ("SLUICE__LOG__FILTER__X", "5"),
            ("SLUICE__HTTP", "off"),
            ("SLUICE__ESP__3__NAME", "x"),
        ],
    )
    .unwrap_err();
    let text = faults.to_string();
    for expected in [
        "queue.urll: is not a known key",
        "(set by SLUICE__QUEUE__URLL)",
        "queu: is not a known key",
        "(set by SLUICE__QUEU__URL)",
        "store.pool_size: must be a whole number from 1 to 200 (set by SLUICE__STORE__POOL_SIZE)",
        "(set by SLUICE__WORKER__HOLD_MAX)",
        "log.filter: must be a text, not a section",
        "http: must be a section, not a text (set by SLUICE__HTTP)",
        "SLUICE__ESP__3__NAME: there are 0 entries before it",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    assert_eq!(faults.0.len(), 7, "{text}");
}

#[test]
fn a_variable_wins_over_the_file_of_the_same_secret() {
    let toml = "[[esp]]\nname = 'a'\nkind = 'sendgrid'\napi_key_file = '/run/secrets/gone'";
    let config = load_with(toml, &[("SLUICE__ESP__0__API_KEY", "SG.x")]).unwrap();
    assert_eq!(config.esps[0].api_key.as_ref().unwrap().expose_secret(), "SG.x");
    let both =
        [("SLUICE__ESP__0__API_KEY", "SG.x"), ("SLUICE__ESP__0__API_KEY_FILE", "/run/secrets/sendgrid")];
    let faults = load_with(toml, &both).unwrap_err();
    assert_eq!(faults.0[0].key, "esp[0].api_key_file");
}
