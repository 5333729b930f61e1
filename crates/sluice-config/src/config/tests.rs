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
    assert!((config.worker.reserved_share - 0.2).abs() < f64::EPSILON);
    assert_eq!(config.brake, crate::Brake { enabled: true, recover: Duration::from_secs(600) });
    let mx =
        crate::Mx { enabled: true, timeout: Duration::from_secs(1), servers: Vec::new(), table: 100_000 };
    assert_eq!(config.mx, mx);
    assert_eq!(config.pools[0].sticky, crate::Sticky::None);
}

#[test]
fn an_empty_list_is_none_wherever_it_stands() {
    let names = ["ESP", "POOL", "DOMAIN_GROUP"].map(|key| (format!("SLUICE__{key}"), "[]".to_owned()));
    assert!(same(&Config::load("", &names, &files).unwrap(), &Config::default()));
    assert!(same(&load("esp = []\npool = []\ndomain_group = []").unwrap(), &Config::default()));
}

#[test]
fn what_was_written_is_what_holds() {
    let config = load(
        "worker.reserved_share = 0\nbrake = { enabled = false, recover = '1d' }\n\
         mx = { enabled = false, timeout = '100ms', servers = ['10.0.0.2', '[::1]:5353'], table = 1000 }\n\
         pool = [{ name = 'default', members = [{ esp = 'sandbox' }], sticky = 'tenant' }]\n\
         tenant = [{ name = 'a', weight = 100 }, { name = 'b' }]",
    )
    .unwrap();
    assert!(config.worker.reserved_share.abs() < f64::EPSILON);
    assert_eq!(config.brake, crate::Brake { enabled: false, recover: Duration::from_secs(86_400) });
    assert!(!config.mx.enabled);
    assert_eq!(config.mx.timeout, Duration::from_millis(100));
    let servers: Vec<_> = config.mx.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.2:53", "[::1]:5353"]);
    assert_eq!(config.mx.table, 1000);
    assert_eq!(config.pools[0].sticky, crate::Sticky::Tenant);
    assert_eq!(config.tenants.iter().map(|tenant| tenant.weight).collect::<Vec<_>>(), [100, 1]);
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

#[test]
fn a_limit_that_is_never_reached_is_a_warning() {
    let config = load(
        "esp = [{ name = 'a', kind = 'sandbox', limits = ['10/s', '1000000/h', '20000/h calendar'] }]\n\
         tenant = [{ name = 'a', limits = ['100/min', '10/s'] }, { name = 'b', limits = ['1/s', '60/min'] }]\n\
         [[domain_group]]\nname = 'x'\ndomains = ['x.example']\nlimits = ['1/s', '3600/h', '100/day']",
    )
    .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "domain_group[0].limits[1]: \"3600/h\" can never be reached: \"1/s\" is always stricter",
            "esp[0].limits[1]: \"1000000/h\" can never be reached: \"10/s\" is always stricter",
            "tenant[0].limits[1]: \"10/s\" can never be reached: \"100/min\" is always stricter",
            "tenant[1].limits[1]: \"60/min\" can never be reached: \"1/s\" is always stricter",
        ]
    );
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
        section in "queue|store|http|log|worker|relay|retry|unknown|breaker|brake|mx|esp|pool|domain_group|tenant|x",
        key in "kind|url|url_file|listen|token|hold_max|claim_ttl|open|bulk|name|members|limits|domains|sandbox|warmup|weight|sticky|servers|table|reserved_share|x",
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
