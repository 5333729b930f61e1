//! Every rule, and all of them at once.

use super::*;
use crate::HttpVersion;

/// Asserts the faults' keys in order, and that each detail holds the words.
fn check(toml: &str, expected: &[(&str, &str)]) {
    let faults = load(toml).expect_err(toml);
    let keys: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, expected.iter().map(|(key, _)| *key).collect::<Vec<_>>(), "{toml}\n{faults}");
    for (fault, (_, words)) in faults.0.iter().zip(expected) {
        assert!(fault.detail.contains(words), "{toml}\n{fault}\nlacks {words:?}");
    }
}

/// Puts a line into a sound ESP.
fn esp(kind: &str, lines: &str) -> String {
    format!("[[esp]]\nname = 'a'\nkind = '{kind}'\n{lines}\n")
}

#[test]
fn all_faults_are_reported_at_once() {
    check(
        r#"
typo = 1
[queue]
kind = "kafka"
heartbeat = 15
[store]
writers = 17
pool = 3
[worker]
hold_max = "1h"
[breaker]
failure_rate = 1.5
[[esp]]
kind = "sendgrid"
[[esp]]
name = "b"
kind = "ses"
api_key = "x"
limits = ["100/fortnight", "1/s"]
[[pool]]
name = "p"
members = [{ esp = "nobody" }, { esp = "b", wait = 3 }]
"#,
        &[
            ("queue.kind", "expected `embedded` or `rabbitmq`"),
            ("queue.heartbeat", "must be a text, not a whole number"),
            ("store.writers", "from 1 to 16"),
            ("store.pool", "known here: kind, url"),
            ("worker.hold_max", "from 0ms to 1min"),
            ("breaker.failure_rate", "up to 1.0"),
            ("esp[0].name", "is required"),
            ("esp[0].api_key", "is required"),
            ("esp[1].kind", "kind `ses` is not available in this version (smtp, sendgrid, sandbox are)"),
            ("esp[1].limits[0]", "\"100/fortnight\" is not a limit"),
            ("pool[0].members[0].esp", "no [[esp]] with the name `nobody`"),
            ("pool[0].members[1].wait", "not a known key"),
            ("pool", "`default`"),
            ("typo", "not a known key"),
        ],
    );
}

#[test]
fn a_syntax_error_says_where() {
    check("[queue]\nkind = \n", &[("", "line 2, column 8: ")]);
    check("a = 1\na = 2", &[("", "line 2, column 1: duplicate key")]);
}

#[test]
fn a_mix_of_embedded_and_servers_is_refused() {
    check(
        "queue = { kind = 'rabbitmq', url = 'amqp://x' }",
        &[("store.kind", "both are embedded or both are servers")],
    );
    check(
        "store = { kind = 'postgres', url = 'postgres://x' }",
        &[("queue.kind", "both are embedded or both")],
    );
}

#[test]
fn results_go_with_a_broker() {
    check("queue.results = true", &[("queue.results", "goes with kind = \"rabbitmq\"")]);
}

#[test]
fn addresses_of_servers_are_checked() {
    let postgres = "store = { kind = 'postgres', url = 'postgresql://x' }\n";
    for (queue, key, words) in [
        ("kind = 'rabbitmq'", "queue.url", "is required"),
        ("kind = 'rabbitmq', url = ''", "queue.url", "must not be empty"),
        ("kind = 'rabbitmq', url = 'redis://x'", "queue.url", "amqp://"),
        ("kind = 'rabbitmq', url_file = '/run/secrets/empty'", "queue.url_file", "empty"),
        ("kind = 'rabbitmq', url_file = '/gone'", "queue.url_file", "cannot read /gone"),
        (
            "kind = 'rabbitmq', url = 'amqp://x', url_file = '/run/secrets/amqp'",
            "queue.url_file",
            "one of the two",
        ),
        ("kind = 'rabbitmq', url = 'amqp://x', delivery_limit = 0", "queue.delivery_limit", "from 1 to 1000"),
    ] {
        check(&format!("{postgres}queue = {{ {queue} }}"), &[(key, words)]);
    }
    check("queue.url = 'amqp://x'", &[("queue.url", "the kind is `embedded`")]);
    check("queue.tls_ca_file = 'x'", &[("queue.tls_ca_file", "the kind is `embedded`")]);
    check("store.url = 'postgres://x'", &[("store.url", "the kind is `embedded`")]);
    let amqp = "queue = { kind = 'rabbitmq', url = 'amqps://x' }\n";
    check(&format!("{amqp}store = {{ kind = 'postgres' }}"), &[("store.url", "is required")]);
    check(
        &format!("{amqp}store = {{ kind = 'postgres', url = 'mysql://x' }}"),
        &[("store.url", "postgres://")],
    );
}

#[test]
fn a_certificate_goes_with_its_key() {
    check("http.tls_cert_file = 'a.pem'", &[("http.tls_key_file", "goes with its key")]);
    check("http.tls_key_file = 'a.key'", &[("http.tls_cert_file", "goes with its certificate")]);
    check("queue = { tls_cert_file = 'a', tls_key_file = 'b' }", &[("queue.tls_cert_file", "is `embedded`")]);
    check("store = { tls_cert_file = 'a', tls_key_file = 'b' }", &[("store.tls_cert_file", "is `embedded`")]);
    let both = "queue = { kind = 'rabbitmq', url = 'amqps://x', tls_key_file = 'b' }
                store = { kind = 'postgres', url = 'postgres://x', tls_cert_file = 'a' }";
    check(both, &[("queue.tls_cert_file", "is missing"), ("store.tls_key_file", "is missing")]);
    check("http = { max_connections = 0 }", &[("http.max_connections", "from 1 to 65536")]);
    let plain = "store = { kind = 'postgres', url = 'postgres://x' }
                 queue = { kind = 'rabbitmq', url = 'amqp://x', tls_ca_file = 'a' }";
    let warnings = load(plain).unwrap().warnings;
    assert!(
        warnings.iter().any(|it| it.key == "queue.url" && it.detail.contains("amqps://")),
        "{warnings:?}"
    );
}

#[test]
fn what_is_over_is_kept_for_a_day_at_least() {
    check(
        "[retention]
         jobs = '1h'
         attempts = '9999d'
         partitions_ahead = 0
         interval = '2d'",
        &[
            ("retention.jobs", "1d"),
            ("retention.attempts", "366d"),
            ("retention.partitions_ahead", "from 1 to 60"),
            ("retention.interval", "1d"),
        ],
    );
}

#[test]
fn http_outside_loopback_needs_a_token() {
    check("http.listen = '0.0.0.0:8025'", &[("http.listen", "allow_unauthenticated = true")]);
    check("http = { listen = '[::]:8025', token = [] }", &[("http.listen", "[[http.token]]")]);
    check("http.listen = 'localhost:8025'", &[("http.listen", "127.0.0.1:8025")]);
    assert!(load("http = { listen = '0.0.0.0:80', allow_unauthenticated = true }").is_ok());
    assert!(load("http.listen = '[::1]:80'").is_ok());
    let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let token = format!("{{ name = 'a', sha256 = '{sha256}', scopes = ['read'] }}");
    assert!(load(&format!("http = {{ listen = '0.0.0.0:80', token = [{token}] }}")).is_ok());
    check(
        &format!("http.token = [{token}, {token}, {{ name = '', sha256 = '+f', scopes = ['write'] }}]"),
        &[
            ("http.token[1].name", "used twice"),
            ("http.token[1].sha256", "earlier token"),
            ("http.token[2].name", "must not be empty"),
            ("http.token[2].sha256", "64 hex digits"),
            ("http.token[2].scopes[0]", "`publish`, `read` and `operate`"),
            ("http.token[2].scopes", "allows nothing"),
        ],
    );
}

#[test]
fn spans_must_fit_each_other() {
    check(
        "worker = { hold_max = '10s', lane_hold_max = '5s' }",
        &[("worker.hold_max", "lane_hold_max (5s)")],
    );
    check("worker.lane_hold_max = '61s'", &[("worker.lane_hold_max", "from 1s to 1min")]);
    check("worker.claim_ttl = '30s'", &[("worker.claim_ttl", "every ESP's timeout (30s)")]);
    check("worker.prefetch_max = 70000", &[("worker.prefetch_max", "from 1 to 4000")]);
    check("retry.bulk = { initial = '1h', max = '1min' }", &[("retry.bulk.max", "initial (1h)")]);
    check(
        "retry.transactional.give_up_after = '1min'",
        &[("retry.transactional.give_up_after", "max (10min)")],
    );
    check("breaker = { open = '10min' }", &[("breaker.open", "open_max (5min)")]);
    check("breaker.slow_rate = nan", &[("breaker.slow_rate", "above 0.0")]);
    check("unknown.bulk = 'drop'", &[("unknown.bulk", "expected `resend` or `hold`")]);
    check("relay.interval = '0s'", &[("relay.interval", "from 10ms")]);
}

#[test]
fn limits_of_one_scope_must_agree() {
    for (limits, at, words) in [
        ("'100/s', '50/s'", 1, "\"50/s\" contradicts \"100/s\": both count per s"),
        ("'100/s', '80/s burst 10'", 1, "\"80/s burst 10\" contradicts \"100/s\": both count per s"),
        ("'1/min', '1/h', '1/60s burst 1'", 2, "\"1/min burst 1\" contradicts \"1/min\": both count per min"),
        ("'9/10s rolling', '8/10s rolling'", 1, "both count per 10s rolling"),
        ("'9/day calendar', '8/24h calendar'", 1, "both count per day calendar"),
        ("'5 connections', '6 connections'", 1, "contradicts \"5 connections\": both count connections"),
        ("'100/s', '100/1s'", 1, "\"100/s\" is in this list twice"),
        ("'10/s burst 200', '50/min'", 1, "allows 50 in 1min"),
        ("'50/h', '10/s burst 200'", 1, "can never be used"),
        ("'10/s burst 200', '50/min burst 60'", 1, "allows 60 in 1min"),
    ] {
        check(&esp("sandbox", &format!("limits = [{limits}]")), &[(&format!("esp[0].limits[{at}]"), words)]);
    }
    for limits in ["'100/s', '50/min'", "'100/s burst 50', '50/min', '1000/day'", "'1/h', '1/h calendar'"] {
        assert!(load(&esp("sandbox", &format!("limits = [{limits}]"))).is_ok(), "{limits}");
    }
    check(&esp("sandbox", "limits = '1/s'"), &[("esp[0].limits", "a list of texts, not a text")]);
    check(
        "tenant = [{ name = 'a', limits = ['1/s', '2/s'] }, { name = 'a' }]",
        &[("tenant[0].limits[1]", "\"2/s\" contradicts \"1/s\""), ("tenant[1].name", "used twice")],
    );
}

#[test]
fn only_an_esp_has_connections() {
    let words = "limits connections, which only an ESP has";
    check(
        "[[domain_group]]\nname = 'x'\ndomains = ['x.example']\nlimits = ['1/s', '5 connections']\n\
         limits_per_esp = ['5 connections', '6 connections']\n\
         [[domain_group]]\nname = 'other'\nlimits_per_domain = ['1 connection']\n\
         [[tenant]]\nname = 'a'\nlimits = ['1 connection']",
        &[
            ("domain_group[0].limits[1]", words),
            ("domain_group[0].limits_per_esp[1]", "contradicts"),
            ("domain_group[1].limits_per_domain[0]", words),
            ("tenant[0].limits[0]", words),
        ],
    );
    let group = "[[domain_group]]\nname = 'x'\ndomains = ['x.example']\nlimits_per_esp = ['5 connections']\n";
    assert!(load(&(esp("sandbox", "limits = ['10 connections']") + group)).is_ok());
}

#[test]
fn the_brake_the_mx_and_the_shares_stay_within_their_range() {
    for (text, key, words) in [
        ("worker.reserved_share = 0.91", "worker.reserved_share", "from 0.0 to 0.9"),
        ("worker.reserved_share = -0.1", "worker.reserved_share", "from 0.0 to 0.9"),
        ("worker.reserved_share = nan", "worker.reserved_share", "from 0.0 to 0.9"),
        ("worker.reserved_share = inf", "worker.reserved_share", "from 0.0 to 0.9"),
        ("worker.reserved_share = 1", "worker.reserved_share", "from 0.0 to 0.9"),
        ("worker.reserved_share = '20%'", "worker.reserved_share", "from 0.0 to 0.9"),
        ("brake.enabled = 1", "brake.enabled", "true or false"),
        ("brake.recover = '9s'", "brake.recover", "from 10s to 1d"),
        ("brake.recover = '25h'", "brake.recover", "from 10s to 1d"),
        ("brake.recover = 600", "brake.recover", "must be a text"),
        ("brake.factor = 2", "brake.factor", "known here: enabled, recover"),
        ("brake = true", "brake", "must be a section"),
        ("mx.timeout = '99ms'", "mx.timeout", "from 100ms to 10s"),
        ("mx.timeout = '11s'", "mx.timeout", "from 100ms to 10s"),
        ("mx.table = 999", "mx.table", "from 1000 to 10000000"),
        ("mx.table = -1", "mx.table", "from 1000 to 10000000"),
        ("mx.table = 10000001", "mx.table", "from 1000 to 10000000"),
        ("mx.servers = '10.0.0.2'", "mx.servers", "a list of texts"),
        ("mx.servers = ['10.0.0.2', 'dns.example']", "mx.servers[1]", "must be an IP address"),
        ("mx.servers = ['10.0.0.2', '10.0.0.2:53']", "mx.servers[1]", "twice"),
        ("mx.servers = [53]", "mx.servers[0]", "must be a text"),
        ("mx.server = '10.0.0.2'", "mx.server", "known here: enabled, timeout, servers, table"),
        ("tenant = [{ name = 'a', weight = 0 }]", "tenant[0].weight", "from 1 to 100"),
        ("tenant = [{ name = 'a', weight = 101 }]", "tenant[0].weight", "from 1 to 100"),
        ("tenant = [{ name = 'a', weight = 1.5 }]", "tenant[0].weight", "from 1 to 100"),
    ] {
        check(text, &[(key, words)]);
    }
    for text in ["0", "0.0", "0.9", "-0.0"] {
        assert!(load(&format!("worker.reserved_share = {text}")).is_ok(), "{text}");
    }
}

#[test]
fn an_esp_has_what_its_kind_needs() {
    check("[esp]\nname = 'a'\nkind = 'sandbox'", &[("esp", "[[esp]]")]);
    check("[[esp]]\nname = 'A'", &[("esp[0].name", "a-z"), ("esp[0].kind", "is required")]);
    check(&esp("pigeon", ""), &[("esp[0].kind", "unknown variant")]);
    check(&esp("smtp", ""), &[("esp[0].url", "is required")]);
    check(
        &esp("smtp", "url = 'smtp://u@x'\nhello_name = 'a b'"),
        &[("esp[0].url", "a user and a password"), ("esp[0].hello_name", "host name")],
    );
    check(
        &esp("sandbox", "api_key = 'x'\nurl = 'smtp://x'\ntimeout = '0s'"),
        &[
            ("esp[0].url", "means nothing with kind = \"sandbox\""),
            ("esp[0].api_key", "means nothing"),
            ("esp[0].timeout", "from 1s"),
        ],
    );
    check(
        &esp("sendgrid", "api_key = 'x'\nbase_url = 'http://stand-in:9000'\nmax_in_flight = 0"),
        &[("esp[0].max_in_flight", "from 1"), ("esp[0].base_url", "allow_plain_http = true")],
    );
    let stand_in = "api_key = 'x'\nallow_plain_http = true\nbase_url = 'http://stand-in:9000'";
    assert!(load(&esp("sendgrid", stand_in)).is_ok());
    check(
        &esp("sandbox", "sandbox = { fail_from = 3, slow = 1 }"),
        &[
            ("esp[0].sandbox.fail_count", "required with fail_from"),
            ("esp[0].sandbox.slow", "not a known key"),
        ],
    );
    check(&(esp("sandbox", "") + &esp("sandbox", "")), &[("esp[1].name", "used twice")]);
}

#[test]
fn a_pool_names_esps_that_are_there() {
    let two = "esp = [{ name = 'a', kind = 'sandbox' }, { name = 'b', kind = 'sandbox' }]\n";
    for (pool, key, words) in [
        ("name = 'default'", "pool[0].members", "at least one"),
        ("name = 'default', members = ['a']", "pool[0].members[0]", "must be a section"),
        (
            "name = 'default', members = [{ esp = 'a', weight = -1 }]",
            "pool[0].members[0].weight",
            "from 0 to 10000",
        ),
        ("name = 'default', members = [{ esp = 'a', weight = 0 }]", "pool[0].members", "every weight is 0"),
        ("name = 'default', members = [{ esp = 'a' }, { esp = 'a' }]", "pool[0].members[1].esp", "twice"),
        ("name = 'default', members = [{ esp = 'a' }], failover = ['a']", "pool[0].failover[0]", "twice"),
        (
            "name = 'default', members = [{ esp = 'a' }], failover = ['c']",
            "pool[0].failover[0]",
            "no [[esp]]",
        ),
        ("name = 'other', members = [{ esp = 'a' }]", "pool", "`default`"),
        (
            "name = 'default', members = [{ esp = 'a' }], sticky = 'job'",
            "pool[0].sticky",
            "expected `none` or `tenant`",
        ),
        ("name = 'default', members = [{ esp = 'a' }], sticky = true", "pool[0].sticky", "expected"),
    ] {
        check(&format!("{two}pool = [{{ {pool} }}]"), &[(key, words)]);
    }
    let drained = "pool = [{ name = 'default', members = [{ esp = 'a', weight = 0 }], failover = ['b'] }]";
    assert!(load(&format!("{two}{drained}")).is_ok());
}

#[test]
fn a_domain_is_in_one_group() {
    check(
        r#"
[[domain_group]]
name = "a"
domains = ["x.example", "X.example"]
mx = ["mx.example"]
[[domain_group]]
name = "b"
domains = ["x.example", "not a domain"]
mx = ["mx.example"]
limits_per_domain = ["1/s"]
[[domain_group]]
name = "b"
[[domain_group]]
name = "other"
domains = ["y.example"]
limits_per_domain = ["1/s", "2/s"]
"#,
        &[
            ("domain_group[0].domains[1]", "in this list twice"),
            ("domain_group[1].domains[0]", "in the group `a` too"),
            ("domain_group[1].domains[1]", "character"),
            ("domain_group[1].mx[0]", "in the group `a` too"),
            ("domain_group[1].limits_per_domain", "`other` only"),
            ("domain_group[2].name", "used twice"),
            ("domain_group[2].domains", "at least one"),
            ("domain_group[3].limits_per_domain[1]", "both count per s"),
            ("domain_group[3].domains", "every domain that no group names"),
        ],
    );
}

#[test]
fn an_odd_key_stays_on_its_line() {
    check("\"a\\nb\" = 1", &[("\"a\\nb\"", "not a known key")]);
}

#[test]
fn a_webhook_has_a_key_or_says_that_it_has_none() {
    let prefix = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    let key = format!("{prefix}{}==", "A".repeat(86));
    let sendgrid = |lines: &str| esp("sendgrid", &format!("api_key = 'x'\n{lines}"));
    check(&sendgrid("webhook_public_key = 'AAAA'"), &[("esp[0].webhook_public_key", "verification key")]);
    check(
        &sendgrid(&format!("webhook_public_key = '-{key}'")),
        &[("esp[0].webhook_public_key", "no PEM lines")],
    );
    // Keys of other curves are as good base64.
    for other in [key.replace("MFkw", "MHYw"), "A".repeat(124), format!("{prefix}{}", "A".repeat(88))] {
        let told = [("esp[0].webhook_public_key", "P-256")];
        check(&sendgrid(&format!("webhook_public_key = '{other}'")), &told);
    }
    check(
        &sendgrid(&format!("webhook_public_key = '{key}'\nwebhook_unsigned = true")),
        &[("esp[0].webhook_unsigned", "drop one of the two")],
    );
    check(&sendgrid("webhook_max_age = '4d'"), &[("esp[0].webhook_max_age", "from 1min to 3d")]);
    check(
        &esp("sandbox", "webhook_unsigned = true\nwebhook_max_age = '1h'"),
        &[
            ("esp[0].webhook_unsigned", "means nothing with kind = \"sandbox\""),
            ("esp[0].webhook_max_age", "means nothing with kind = \"sandbox\""),
        ],
    );
    let on = load(&sendgrid(&format!("webhook_public_key = '{key}'"))).unwrap();
    assert!(on.esps[0].takes_webhooks() && on.warnings.is_empty());
    assert_eq!(on.esps[0].webhook_max_age, Duration::from_secs(25 * 3600));
    let off = load(&sendgrid("")).unwrap();
    assert!(!off.esps[0].takes_webhooks());
    let open = load(&sendgrid("webhook_unsigned = true")).unwrap();
    assert!(open.esps[0].takes_webhooks());
    assert!(open.warnings.iter().any(|it| it.key == "esp[0].webhook_unsigned"), "{:?}", open.warnings);
}

#[test]
fn the_version_of_http_is_one_of_three() {
    let sendgrid = |line: &str| esp("sendgrid", &format!("api_key = 'x'\n{line}"));
    for (word, version) in
        [("auto", HttpVersion::Auto), ("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)]
    {
        let loaded = load(&sendgrid(&format!("http_version = '{word}'"))).unwrap();
        assert_eq!(loaded.esps[0].http_version, version);
    }
    assert_eq!(load(&sendgrid("")).unwrap().esps[0].http_version, HttpVersion::Auto);
    check(&sendgrid("http_version = '3'"), &[("esp[0].http_version", "expected one of `auto`, `1.1`, `2`")]);
    check(&sendgrid("http_version = 2"), &[("esp[0].http_version", "")]);
    check(
        &esp("smtp", "url = 'smtp://mail.example'\nhttp_version = '2'"),
        &[("esp[0].http_version", "means nothing with kind = \"smtp\"")],
    );
}

#[test]
fn a_sandbox_needs_its_journal_to_know_jobs_again() {
    check(
        &esp("sandbox", "sandbox = { idempotent = true }"),
        &[("esp[0].sandbox.idempotent", "needs `journal`")],
    );
    let config = load(&esp("sandbox", "sandbox = { idempotent = true, journal = 'j' }")).unwrap();
    assert!(config.esps[0].sandbox.idempotent);
}
