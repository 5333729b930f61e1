//! Which keys a running process does not take up: those of its connections and clients, and the sizes it was made with.

use secrecy::{ExposeSecret, SecretString};

use crate::config::Config;
use crate::esp::EspConfig;

impl Config {
    /// The sections of `self` that a process which was started with `before` takes up only when it is started again, such
    /// as `mx` or `esp main`; empty when it goes on with all of `self`.
    ///
    /// Live are limits, warm-ups, pools, groups, tenants, `retry`, `unknown`, `breaker`, `brake`, `relay`, `retention`, and
    /// of `worker` all but `max_in_flight` and `unhealthy_release`.
    #[must_use]
    pub fn needs_restart(&self, before: &Self) -> Vec<String> {
        let sections = [
            ("queue", frozen(&self.queue, [&self.queue.url]) != frozen(&before.queue, [&before.queue.url])),
            ("store", frozen(&self.store, [&self.store.url]) != frozen(&before.store, [&before.store.url])),
            ("http", self.http != before.http),
            ("log", self.log != before.log),
            ("mx", self.mx != before.mx),
            ("worker.max_in_flight", self.worker.max_in_flight != before.worker.max_in_flight),
            ("worker.unhealthy_release", self.worker.unhealthy_release != before.worker.unhealthy_release),
        ];
        let mut keys: Vec<String> =
            sections.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect();
        let esp = |config: &Self, name: &sluice_types::EspId| {
            config.esps.iter().find(|esp| esp.name == *name).map(frozen_esp)
        };
        let mut names: Vec<_> = before.esps.iter().chain(&self.esps).map(|esp| &esp.name).collect();
        names.sort();
        names.dedup();
        keys.extend(
            names
                .into_iter()
                .filter(|name| esp(self, name) != esp(before, name))
                .map(|name| format!("esp {name}")),
        );
        keys
    }
}

/// An account without what is live. Whatever else is added to it counts as not live until it is taken out here.
fn frozen_esp(esp: &EspConfig) -> String {
    let fixed = EspConfig { limits: Vec::new(), warmup: None, ..esp.clone() };
    frozen(&fixed, [&esp.url, &esp.api_key])
}

/// What `section` shows, and its secrets, which it does not show. To be compared, never to be told.
fn frozen<const N: usize>(section: &impl std::fmt::Debug, secrets: [&Option<SecretString>; N]) -> String {
    let mut text = format!("{section:?}");
    for secret in secrets {
        text.push('\n');
        text.push_str(secret.as_ref().map_or("", |secret| secret.expose_secret()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "
        [queue]
        kind = 'rabbitmq'
        url = 'amqp://a:one@127.0.0.1'
        [store]
        kind = 'postgres'
        url = 'postgres://a:one@127.0.0.1/x'
        [[esp]]
        name = 'main'
        kind = 'sendgrid'
        api_key = 'one'
        limits = ['5/s']
        [worker]
        max_in_flight = 10
        [mx]
        timeout = '1s'
        [breaker]
        probes = 3
        [retention]
        jobs = '9d'
    ";

    fn load(text: &str) -> Config {
        Config::load(text, &[], &|_| Err(String::new())).unwrap()
    }

    #[test]
    fn only_what_is_not_live_asks_for_a_restart() {
        let before = load(BASE);
        for (from, to, keys) in [
            ("5/s", "6/s", &[][..]),
            ("probes = 3", "probes = 4", &[]),
            ("'9d'", "'8d'", &[]),
            ("timeout = '1s'", "timeout = '2s'", &["mx"]),
            ("amqp://a:one", "amqp://a:two", &["queue"]),
            ("postgres://a:one", "postgres://a:two", &["store"]),
            ("api_key = 'one'", "api_key = 'two'", &["esp main"]),
            ("name = 'main'", "name = 'other'", &["esp main", "esp other"]),
            ("limits = ['5/s']", "timeout = '9s'", &["esp main"]),
            ("max_in_flight = 10", "max_in_flight = 11", &["worker.max_in_flight"]),
            ("max_in_flight = 10", "max_in_flight = 10\nprefetch_max = 9", &[]),
            ("[worker]", "[http]\nmax_connections = 9\n[worker]", &["http"]),
        ] {
            let text = BASE.replacen(from, to, 1);
            assert_ne!(text, BASE, "{from}");
            assert_eq!(load(&text).needs_restart(&before), keys, "{from} to {to}");
        }
    }
}
