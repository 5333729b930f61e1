//! What a running process does not take up of a new configuration: the same keys as [`sluice_config::Config::needs_restart`] tells.

use std::time::Duration;

use super::Plan;

impl Plan {
    /// The same plan, but as a process that was started with `started` goes on with it: what its connections and clients were
    /// made with stays as it was.
    pub(crate) fn as_taken_up(&self, started: &Self) -> Self {
        let mut plan = self.clone();
        for (esp, made_with) in &started.esps {
            if let Some(esp) = plan.esps.get_mut(esp) {
                (esp.timeout, esp.max_in_flight) = (made_with.timeout, made_with.max_in_flight);
            }
        }
        plan.bounds.max_in_flight = started.bounds.max_in_flight;
        plan.bounds.unhealthy_release = started.bounds.unhealthy_release;
        plan.bounds.writers = started.bounds.writers;
        // `claim_ttl` is live, but was checked or reckoned against timeouts of which some do not hold yet: a claim must not
        // end while a call of before still may last.
        plan.bounds.claim_ttl += plan.longest_timeout().saturating_sub(self.longest_timeout());
        plan
    }

    /// The longest that a call to any ESP may last.
    pub(crate) fn longest_timeout(&self) -> Duration {
        self.esps.values().map(|esp| esp.timeout).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "
        [[esp]]
        name = 'main'
        kind = 'sandbox'
        timeout = '30s'
        max_in_flight = 7
        limits = ['5/s']
        [worker]
        max_in_flight = 10
        unhealthy_release = '20s'
        lane_hold_max = '45s'
        [store]
        writers = 2
    ";

    fn plan(text: &str) -> Plan {
        Plan::of(&sluice_config::Config::load(text, &[], &|_| Err(String::new())).unwrap())
    }

    fn taken_up(from: &str, to: &str) -> Plan {
        let text = BASE.replacen(from, to, 1);
        assert_ne!(text, BASE, "{from}");
        plan(&text).as_taken_up(&plan(BASE))
    }

    /// A raised timeout was longer than the lease of a connection, and a lowered one cut calls off.
    #[test]
    fn what_needs_a_restart_stays_as_it_was() {
        let main = "main".parse().unwrap();
        for (from, to) in [
            ("timeout = '30s'", "timeout = '90s'"),
            ("timeout = '30s'", "timeout = '2s'"),
            ("max_in_flight = 7", "max_in_flight = 9"),
            ("max_in_flight = 10", "max_in_flight = 11"),
            ("'20s'", "'21s'"),
            ("writers = 2", "writers = 3"),
        ] {
            let plan = taken_up(from, to);
            let esp = &plan.esps[&main];
            assert_eq!((plan.esp_timeout(&main), esp.max_in_flight), (Duration::from_secs(30), 7), "{to}");
            let bounds = plan.bounds();
            assert_eq!((bounds.max_in_flight, bounds.writers), (10, 2), "{to}");
            assert_eq!(bounds.unhealthy_release, Duration::from_secs(20), "{to}");
            assert!(bounds.claim_ttl >= Duration::from_secs(30 + 45 + 30), "{to}");
        }
    }

    #[test]
    fn the_rest_is_taken_up() {
        let main = "main".parse().unwrap();
        assert_eq!(taken_up("'5/s'", "'6/s'").esps[&main].limits, ["6/s".parse().unwrap()]);
        let longer = taken_up("'45s'", "'50s'");
        assert_eq!(longer.bounds().lane_hold_max, Duration::from_secs(50));
        assert_eq!(longer.bounds().claim_ttl, Duration::from_secs(30 + 50 + 30));
        assert_eq!(taken_up("'main'", "'new'").esp_timeout(&"new".parse().unwrap()), Duration::from_secs(30));
    }

    #[test]
    fn a_shorter_claim_still_outlasts_the_calls_of_before() {
        let computed = taken_up("timeout = '30s'", "timeout = '10s'");
        assert_eq!(computed.bounds().claim_ttl, Duration::from_secs(30 + 45 + 30));
        let text = BASE.replacen("'30s'", "'10s'", 1).replacen("[worker]", "[worker]\nclaim_ttl = '15s'", 1);
        assert_eq!(plan(&text).as_taken_up(&plan(BASE)).bounds().claim_ttl, Duration::from_secs(35));
    }
}
