//! Tests of the whole: text in, config or faults out.

mod example;
mod faults;
mod overlay;
mod schema;
mod secrets;

use super::*;

/// A secret store with a few files.
fn files(path: &str) -> Result<String, String> {
    match path {
        "/run/secrets/sendgrid" => Ok("SG.hunter2\n".to_owned()),
        "/run/secrets/amqp" => Ok("amqps://user:hunter2@mq.example\n".to_owned()),
        "/run/secrets/empty" => Ok("\n".to_owned()),
        _ => Err(format!("cannot read {path}: no such file")),
    }
}

fn load(toml: &str) -> Result<Config, ConfigFaults> {
    Config::load(toml, &[], &files)
}

fn same(a: &Config, b: &Config) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn an_empty_text_is_the_default() {
    let config = load("").unwrap();
    assert!(same(&config, &Config::default()));
    assert_eq!(config.warnings, []);
    assert_eq!(config.queue.kind, QueueKind::Embedded);
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:8025");
    assert_eq!(config.esps.len(), 1);
    assert_eq!(config.esps[0].kind, crate::EspKind::Sandbox);
    assert_eq!(config.pools[0].name, PoolName::default());
    assert_eq!(config.pools[0].members[0].esp, config.esps[0].name);
    let groups: Vec<_> = config.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["gmail", "microsoft", "yahoo", "apple", "other"]);
    assert_eq!(config.claim_ttl(), Duration::from_secs(30 + 45 + 30));
}

#[test]
fn the_shipped_groups_would_pass_the_check() {
    let mut text = String::new();
    for group in GroupConfig::shipped() {
        text.push_str(&format!(
            "[[domain_group]]\nname = \"{}\"\ndomains = {:?}\nmx = {:?}\n",
            group.name, group.domains, group.mx
        ));
    }
    assert_eq!(load(&text).unwrap().groups, Config::default().groups);
}

#[test]
fn listening_can_be_switched_off() {
    for text in ["", "off"] {
        assert_eq!(load(&format!("http.listen = '{text}'")).unwrap().http.listen, None);
    }
}

#[test]
fn domains_are_normalised() {
    let config =
        load("[[domain_group]]\nname = 'x'\ndomains = ['Bücher.Example']\nmx = ['.MX.example']").unwrap();
    assert_eq!(config.groups[0].domains, ["xn--bcher-kva.example"]);
    assert_eq!(config.groups[0].mx, ["mx.example"]);
    assert!(config.groups[1].name.is_other());
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let config = load(
        "[[esp]]\nname = 'a'\nkind = 'smtp'\nurl = 'smtp://u:hunter2@mail.example?tls=none'\n\
         [[esp]]\nname = 'b'\nkind = 'sandbox'\n\
         [[pool]]\nname = 'default'\nmembers = [{ esp = 'a' }]",
    )
    .unwrap();
    let keys: Vec<_> = config.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["esp[0].url", "esp[1]"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,200}|([a-z_]{1,8}(\\.[a-z]{1,6})? ?= ?[\"0-9a-z\\[\\]{}:/=.-]{0,12}\n){0,8}") {
        if let Err(faults) = load(&text) {
            proptest::prop_assert!(!faults.0.is_empty());
            proptest::prop_assert_eq!(faults.to_string().lines().count(), faults.0.len());
        }
    }

    #[test]
    fn any_value_of_any_key_is_refused_or_read(
        section in "queue|store|http|log|worker|relay|retry|unknown|breaker|esp|pool|domain_group|tenant|x",
        key in "kind|url|url_file|listen|token|hold_max|claim_ttl|open|bulk|name|members|limits|domains|sandbox|x",
        value in "\"\\PC{0,20}\"|-?[0-9]{1,20}|true|\\[\\]|\\[\\{ name = \"a\" \\}\\]|\\{\\}|1e9|nan|1979-05-27|\\[\\[1\\]\\]",
        array in proptest::bool::ANY,
    ) {
        let header = if array { format!("[[{section}]]") } else { format!("[{section}]") };
        if let Err(faults) = load(&format!("{header}\n{key} = {value}\n")) {
            proptest::prop_assert_eq!(faults.to_string().lines().count(), faults.0.len());
        }
    }

    #[test]
    fn any_variable_is_refused_or_read(
        name in "(SLUICE__)?([A-Z0-9]{0,5}(__)?){0,6}|SLUICE__(ESP|POOL|QUEUE)__[0-2]?_{0,2}(NAME|KIND|LIMITS|URL)",
        text in "\\PC{0,30}|\\[{0,300}",
    ) {
        if let Err(faults) = Config::load("", &[(name, text)], &files) {
            proptest::prop_assert!(!faults.0.is_empty());
        }
    }
}

#[test]
fn a_deep_nest_is_refused_and_does_not_overflow_the_stack() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("{} = 1", ["a"; 100_000].join(".")),
        format!("[{}]", ["a"; 100_000].join(".")),
        format!("a = {}", "{ a = ".repeat(100_000)),
    ] {
        assert!(load(&text).is_err());
    }
}
