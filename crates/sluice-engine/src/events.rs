//! Around the port [`Events`]: the sweep that applies what had to wait, what is counted, and what the fleet is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_policy::{Report, SendVerdict, Sends};
use sluice_telemetry::Metrics;
use sluice_types::{EspId, GroupName, JobState};

use crate::groups::group_of;
use crate::health::chain;
use crate::plan::LivePlan;
use crate::ports::{Events, Fleet, FleetError, Moved, MxSource};

/// How often events that wait for their job are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Events that are looked at in one sweep.
const SWEEP_MAX: u32 = 1_000;
/// How often the fleet is told of bounces.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// For how long domains are looked up before the fleet is told.
const PLACING_MAX: Duration = Duration::from_secs(2);
/// Domains, by ESP, that wait to be looked up.
const UNPLACED_MAX: usize = 10_000;

/// Applies events that came before their job's result, for ever. Every replica may do this: they share the work.
pub async fn sweep_events(events: &dyn Events, bounces: &Bounces) {
    let mut away = false;
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match events.apply_due(SWEEP_MAX).await {
            Ok(moved) => {
                away = false;
                bounces.count(&moved);
            }
            // Said once: that the store is away is told elsewhere too.
            Err(error) if !away => {
                away = true;
                tracing::warn!(error = %chain(&error), "could not apply events that wait");
            }
            Err(_) => {}
        }
    }
}

/// Bounces and complaints that ESPs have reported of messages they had taken, until the fleet is told: they hold warm-ups, as
/// refusals at the hand-over do.
#[derive(Debug)]
pub struct Bounces {
    plan: Arc<LivePlan>,
    mx: Option<Arc<dyn MxSource>>,
    metrics: Arc<Metrics>,
    /// By ESP and domain, until it is known whose the domain is.
    unplaced: Mutex<BTreeMap<(EspId, String), u64>>,
    untold: Mutex<BTreeMap<(EspId, GroupName), u64>>,
}

impl Bounces {
    /// None so far.
    #[must_use]
    pub fn new(plan: Arc<LivePlan>, mx: Option<Arc<dyn MxSource>>, metrics: Arc<Metrics>) -> Self {
        Self { plan, mx, metrics, unplaced: Mutex::default(), untold: Mutex::default() }
    }

    /// Counts the jobs that events have moved, and those of them that came back.
    pub fn count(&self, moved: &[Moved]) {
        for Moved { job, esp, domain, before, after } in moved {
            self.metrics.job(*after);
            if before.rank() == Some(0) {
                self.metrics.resolved(*before);
                tracing::info!(%job, %before, %after, "an event has settled a job");
            }
            let was_taken = matches!(before, JobState::Accepted | JobState::Delivered);
            if was_taken && matches!(after, JobState::Bounced | JobState::Complained) {
                let mut unplaced = self.unplaced();
                let key = (esp.clone(), domain.clone());
                if unplaced.len() < UNPLACED_MAX || unplaced.contains_key(&key) {
                    *unplaced.entry(key).or_default() += 1;
                } else {
                    self.add(esp.clone(), self.plan.get().group_of(domain), 1);
                }
            }
        }
    }

    fn add(&self, esp: EspId, group: GroupName, count: u64) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        *untold.entry((esp, group)).or_default() += count;
    }

    /// Finds out whose the domains are: hosted ones count for their provider. Those for which there is no time count for the
    /// group that names them.
    async fn place(&self) {
        let plan = self.plan.get();
        let look_up = async {
            while let Some((esp, domain)) = self.first_unplaced() {
                let group = group_of(&plan, self.mx.as_deref(), &domain).await;
                let count = self.unplaced().remove(&(esp.clone(), domain)).unwrap_or(0);
                self.add(esp, group, count);
            }
        };
        if tokio::time::timeout(PLACING_MAX, look_up).await.is_err() {
            for ((esp, domain), count) in std::mem::take(&mut *self.unplaced()) {
                self.add(esp, plan.group_of(&domain), count);
            }
        }
    }

    fn first_unplaced(&self) -> Option<(EspId, String)> {
        self.unplaced().keys().next().cloned()
    }

    fn unplaced(&self) -> MutexGuard<'_, BTreeMap<(EspId, String), u64>> {
        self.unplaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the fleet, for ever; while the store is away they are kept.
    pub async fn keep_telling(&self, fleet: &dyn Fleet, replica: &str) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            if let Err(error) = self.tell(fleet, replica).await {
                tracing::debug!(error = %chain(&error), "could not tell the fleet of bounces");
            }
        }
    }

    /// Tells the fleet of what it has not heard yet.
    ///
    /// # Errors
    /// When the store could not be asked: they are kept.
    pub async fn tell(&self, fleet: &dyn Fleet, replica: &str) -> Result<(), FleetError> {
        self.place().await;
        let taken = std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return Ok(());
        }
        let sends = taken.iter().map(|((esp, group), count)| Sends {
            esp: esp.to_string(),
            group: group.to_string(),
            word: "bounced".to_owned(),
            verdict: SendVerdict::Returned,
            count: *count,
        });
        let report = Report {
            replica: replica.to_owned(),
            sends: sends.collect(),
            ramps: self.plan.get().ramps(),
            ..Report::default()
        };
        let told = fleet.exchange(&report).await;
        if told.is_err() {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in taken {
                *untold.entry(key).or_default() += count;
            }
        }
        told.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use sluice_config::Config;
    use sluice_policy::{Edit, View};

    use super::*;
    use crate::plan::Plan;
    use crate::ports::MxAnswer;

    /// Keeps what it is told, or is away.
    #[derive(Debug, Default)]
    struct Told {
        away: AtomicBool,
        sends: Mutex<Vec<Sends>>,
    }

    #[async_trait]
    impl Fleet for Told {
        async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
            if self.away.load(Ordering::Relaxed) {
                return Err(FleetError("away".into()));
            }
            self.sends.lock().unwrap().extend(report.sends.iter().cloned());
            Ok(View::default())
        }

        async fn edit(&self, _: Edit) -> Result<(), FleetError> {
            Ok(())
        }

        async fn look(&self) -> Result<View, FleetError> {
            Ok(View::default())
        }
    }

    /// Knows of one provider's customers, and never answers for another domain.
    #[derive(Debug)]
    struct Exchanges;

    #[async_trait]
    impl MxSource for Exchanges {
        async fn exchanges(&self, domain: &str) -> MxAnswer {
            if domain.starts_with("slow") {
                std::future::pending::<()>().await;
            }
            MxAnswer::Hosts(Arc::new(["aspmx.l.google.com".to_owned()]))
        }
    }

    fn bounces(mx: Option<Arc<dyn MxSource>>) -> Bounces {
        let toml = "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n\
            [[domain_group]]\nname = \"gmail\"\ndomains = [\"gmail.com\"]\nmx = [\"google.com\"]\n";
        let plan = Arc::new(Plan::of(&Config::load(toml, &[], &|_| Err(String::new())).unwrap()));
        Bounces::new(Arc::new(LivePlan::new(plan)), mx, Arc::new(Metrics::new("test").unwrap()))
    }

    async fn told(bounces: &Bounces) -> Vec<(String, u64)> {
        let fleet = Told::default();
        bounces.tell(&fleet, "a").await.unwrap();
        let told = fleet.sends.lock().unwrap().clone();
        told.into_iter().map(|it| (it.group, it.count)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hosted_domain_counts_for_its_provider() {
        let came_back = ["a.example", "gmail.com", "b.example"]
            .map(|it| moved(it, JobState::Accepted, JobState::Bounced));
        let slow = ["slow.example", "z.example"].map(|it| moved(it, JobState::Accepted, JobState::Bounced));
        let bounces = bounces(Some(Arc::new(Exchanges)));
        bounces.count(&came_back);
        assert_eq!(told(&bounces).await, [("gmail".to_owned(), 3)]);
        bounces.count(&came_back);
        bounces.count(&slow);
        // Nobody waits for long.
        assert_eq!(told(&bounces).await, [("gmail".to_owned(), 3), ("other".to_owned(), 2)]);
        assert_eq!(told(&bounces).await, []);
    }

    fn moved(domain: &str, before: JobState, after: JobState) -> Moved {
        let (job, esp) = ("job".parse().unwrap(), "main".parse().unwrap());
        Moved { job, esp, domain: domain.to_owned(), before, after }
    }

    #[tokio::test]
    async fn the_fleet_hears_once_of_what_was_taken_and_came_back() {
        let bounces = bounces(None);
        bounces.count(&[
            moved("gmail.com", JobState::Accepted, JobState::Bounced),
            moved("gmail.com", JobState::Delivered, JobState::Complained),
            moved("acme.example", JobState::Accepted, JobState::Bounced),
            moved("gmail.com", JobState::Accepted, JobState::Delivered),
            moved("gmail.com", JobState::Unknown, JobState::Bounced),
        ]);
        let fleet = Told::default();
        fleet.away.store(true, Ordering::Relaxed);
        assert!(bounces.tell(&fleet, "a").await.is_err());
        fleet.away.store(false, Ordering::Relaxed);
        for _ in 0..2 {
            bounces.tell(&fleet, "a").await.unwrap();
        }
        let told = fleet.sends.lock().unwrap().clone();
        let told: Vec<_> = told.iter().map(|it| (it.esp.as_str(), it.group.as_str(), it.count)).collect();
        assert_eq!(told, [("main", "gmail", 2), ("main", "other", 1)]);
    }
}
