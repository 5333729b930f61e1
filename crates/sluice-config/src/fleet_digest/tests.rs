use super::*;

const BASE: &str = r#"
[queue]
kind = "rabbitmq"
url = "amqp://guest:guest@mq.example"
[store]
kind = "postgres"
url = "postgres://db.example"
[[esp]]
name = "a"
kind = "sendgrid"
api_key = "SG.x"
limits = ["100/s burst 100", "50000/h"]
max_in_flight = 256
timeout = "30s"
[esp.warmup]
caps = [200, 500, 1000]
[esp.warmup.groups.gmail]
caps = [100, 200]
[[esp]]
name = "b"
kind = "sandbox"
[[pool]]
name = "default"
members = [{ esp = "a", weight = 100 }]
failover = ["b"]
[[pool]]
name = "two"
members = [{ esp = "a" }, { esp = "b" }]
[[domain_group]]
name = "gmail"
domains = ["gmail.com", "googlemail.com"]
mx = ["google.com", "googlemail.com"]
limits = ["50/s"]
limits_per_esp = ["20/s"]
[[domain_group]]
name = "other"
limits_per_domain = ["10/s"]
[[tenant]]
name = "acme"
limits = ["200/s"]
weight = 1
[[tenant]]
name = "umbrella"
"#;

fn digest(toml: &str) -> String {
    let config = Config::load(toml, &[], &|_| Ok("SG.from-a-file".to_owned())).expect(toml);
    config.fleet_digest()
}

fn changed(replacements: &[(&str, &str)]) -> bool {
    let mut text = BASE.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    digest(&text) != digest(BASE)
}

#[test]
fn the_digest_is_sixteen_hex_digits() {
    let digest = digest("");
    assert_eq!(digest.len(), 16);
    assert!(digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{digest}");
    assert_eq!(digest, Config::default().fleet_digest());
}

#[test]
fn what_the_fleet_shares_changes_it() {
    for (from, to) in [
        ("50000/h", "50001/h"),
        (", \"50000/h\"", ""),
        ("50000/h", "50000/h calendar"),
        ("[200, 500, 1000]", "[200, 500, 1001]"),
        ("[200, 500, 1000]", "[200, 500, 1000]\nhold_above = 0.1"),
        ("[100, 200]", "[100, 201]"),
        ("[esp.warmup.groups.gmail]", "[esp.warmup.groups.other]"),
        ("weight = 100 ", "weight = 99 "),
        ("failover = [\"b\"]", ""),
        ("failover = [\"b\"]", "failover = [\"b\"]\nsticky = \"tenant\""),
        ("\"gmail.com\", ", ""),
        ("\"google.com\", ", ""),
        ("\"50/s\"", "\"51/s\""),
        ("\"20/s\"", "\"21/s\""),
        ("\"10/s\"", "\"11/s\""),
        ("\"200/s\"", "\"201/s\""),
        ("weight = 1\n", "weight = 2\n"),
        ("[queue]", "worker.reserved_share = 0.1\n[queue]"),
        ("[queue]", "mx.enabled = false\n[queue]"),
        ("[queue]", "breaker.window = '61s'\n[queue]"),
        ("[queue]", "breaker.failure_rate = 0.4\n[queue]"),
        ("[queue]", "breaker.probes = 4\n[queue]"),
        ("[queue]", "brake.enabled = false\n[queue]"),
        ("[queue]", "brake.recover = '1h'\n[queue]"),
    ] {
        assert!(changed(&[(from, to)]), "{from} -> {to}");
    }
    assert!(changed(&[
        ("name = \"b\"", "name = \"c\""),
        ("[\"b\"]", "[\"c\"]"),
        ("esp = \"b\"", "esp = \"c\"")
    ]));
}

#[test]
fn what_concerns_one_process_does_not() {
    for (from, to) in [
        ("SG.x", "SG.y"),
        ("api_key = \"SG.x\"", "api_key_file = \"/run/secrets/sendgrid\""),
        ("mq.example", "mq2.example"),
        ("db.example", "db2.example"),
        ("kind = \"sendgrid\"", "kind = \"sendgrid\"\nbase_url = \"https://stand-in.example\""),
        ("kind = \"sendgrid\"", "kind = \"sendgrid\"\ntls_ca_file = \"/etc/ssl/esp.pem\""),
        ("kind = \"sendgrid\"", "kind = \"sendgrid\"\nhttp_version = \"2\""),
        ("max_in_flight = 256", "max_in_flight = 1"),
        ("timeout = \"30s\"", "timeout = \"20s\""),
        ("kind = \"sandbox\"", "kind = \"sandbox\"\nsandbox.journal = \"x.jsonl\""),
        ("[queue]", "log.filter = \"debug\"\n[queue]"),
        ("[queue]", "http.listen = \"off\"\n[queue]"),
        ("[queue]", "worker.hold_max = \"1s\"\n[queue]"),
        ("[queue]", "worker.prefetch_max = 5\n[queue]"),
        ("[queue]", "mx = { timeout = '2s', servers = ['10.0.0.2'], table = 1000 }\n[queue]"),
    ] {
        assert!(!changed(&[(from, to)]), "{from} -> {to}");
    }
}

#[test]
fn an_order_that_means_nothing_does_not() {
    for (from, to) in [
        ("\"gmail.com\", \"googlemail.com\"", "\"googlemail.com\", \"GMAIL.com\""),
        ("\"google.com\", \"googlemail.com\"", "\"googlemail.com\", \"google.com\""),
        ("\"100/s burst 100\", \"50000/h\"", "\"50000/h\", \"100/1s burst 100\""),
        ("{ esp = \"a\" }, { esp = \"b\" }", "{ esp = \"b\" }, { esp = \"a\" }"),
    ] {
        assert!(!changed(&[(from, to)]), "{from} -> {to}");
    }
    let acme = "[[tenant]]\nname = \"acme\"\nlimits = [\"200/s\"]\nweight = 1\n";
    let moved = [(acme, ""), ("[queue]", &format!("{acme}[queue]"))];
    assert!(!changed(&moved));
}

#[test]
fn a_failover_is_tried_in_its_order() {
    let three = "esp = [{ name = 'a', kind = 'sandbox' }, { name = 'b', kind = 'sandbox' }, { name = 'c', kind = 'sandbox' }]\n";
    let pool = |failover: &str| {
        digest(&format!(
            "{three}pool = [{{ name = 'default', members = [{{ esp = 'a' }}], failover = {failover} }}]"
        ))
    };
    assert_ne!(pool("['b', 'c']"), pool("['c', 'b']"));
}

#[test]
fn a_ramp_is_known_by_its_days() {
    let esp =
        |ramp: &str| digest(&format!("esp = [{{ name = 'a', kind = 'sandbox', warmup = {{ {ramp} }} }}]"));
    assert_eq!(esp("caps = [100, 200, 300]"), esp("first = 100, growth = 2, cap = 300"));
    assert_ne!(esp("preset = 'sendgrid'"), esp("preset = 'sparkpost'"));
}
