//! A scenario: seed, faults and load in; report out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::driver::{Strike, strike_until};
use crate::faults::{Family, Fault};
use crate::judge::{judge, settle};
use crate::load::Load;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::site::{Servers, Site};
use crate::upgrade::upgrade;

/// What to play. The seed decides jobs, faults and their times; the machine's own timing is not decided by it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// How it is called in the report.
    pub name: String,
    /// What may strike; with several families those of broker and database strike beside the others.
    pub faults: Vec<Fault>,
    /// The binary of an older version that replicas are of at first, to be replaced by this build's under load.
    pub upgrade_from: Option<PathBuf>,
    /// Replicas at the start.
    pub replicas: usize,
    /// Messages to publish.
    pub messages: usize,
    /// Messages a second.
    pub rate: f64,
    /// Of a thousand messages, how many are no jobs.
    pub malformed_permille: u32,
    /// No more strikes than this from each thread of faults.
    pub strikes_max: usize,
    /// How long everything may take to settle once the load is published and the faults are over.
    pub settle_max: Duration,
}

impl Scenario {
    /// Plays it, and judges.
    ///
    /// # Panics
    /// If servers or replicas cannot be started.
    pub async fn run(self, servers: &Arc<Servers>) -> Report {
        let begin = Instant::now();
        let (its, wanted, old, seed) =
            (Arc::clone(servers), self.replicas, self.upgrade_from.clone(), self.seed);
        let site = blocking(move || {
            let site = Arc::new(Site::new(&its, old, seed));
            site.fleet.start_ready(wanted);
            site
        })
        .await;
        let load = Load {
            seed: self.seed,
            count: self.messages,
            malformed_permille: self.malformed_permille,
            one_lane: false,
        };
        let strikes_max = self.strikes_max;
        let over = Arc::new(AtomicBool::new(false));
        let ends = EndsStrikes(Arc::clone(&over));
        let mut strikers: Vec<_> = self
            .teams()
            .into_iter()
            .enumerate()
            .map(|(team, faults)| {
                let (site, over) = (Arc::clone(&site), Arc::clone(&over));
                let rng = Rng::with_seed(self.seed.wrapping_add(u64::try_from(team).unwrap_or(0) << 32));
                tokio::task::spawn_blocking(move || strike_until(&site, &faults, strikes_max, rng, &over))
            })
            .collect();
        if self.upgrade_from.is_some() {
            let (site, over, rng) = (Arc::clone(&site), Arc::clone(&over), Rng::with_seed(self.seed));
            strikers.push(tokio::task::spawn_blocking(move || upgrade(&site, rng, &over)));
        }
        let publisher = Publisher {
            url: site.amqp_url.clone(),
            load: load.clone(),
            rate: self.rate,
            patience: Duration::from_secs_f64(self.messages_seconds() * 3.0 + 120.0),
            fleet: Arc::clone(&site.fleet),
        };
        let loaded_from = Instant::now();
        let told = publisher.run().await;
        let load_s = loaded_from.elapsed().as_secs_f64();
        drop(ends);
        let mut strikes: Vec<Strike> = Vec::new();
        for striker in strikers {
            strikes.extend(striker.await.expect("a fault does its work"));
        }
        site.mend();
        let settling_from = Instant::now();
        let settled = settle(&site, &load, &told, self.settle_max).await;
        let settle_s = settling_from.elapsed().as_secs_f64();
        let peak_mib = site.fleet.peak_mib();
        let its = Arc::clone(&site);
        let endings = blocking(move || its.fleet.end()).await;
        let verdict = judge(&site, &load, &told, settled, &endings).await;
        drop_data(&site).await;
        Report {
            seed: self.seed,
            name: self.name,
            replicas: self.replicas,
            killed: endings.killed,
            drained: endings.drained,
            peak_mib,
            messages: told.acknowledged.iter().filter(|it| **it).count(),
            over_http: told.over_http,
            published_again: told.again,
            load_s,
            settle_s,
            total_s: begin.elapsed().as_secs_f64(),
            strikes,
            verdict,
        }
    }

    /// Faults that may overlap: broker and database beside all others.
    fn teams(&self) -> Vec<Vec<Fault>> {
        let (servers, others): (Vec<Fault>, Vec<Fault>) =
            self.faults.iter().partition(|it| matches!(it.family, Family::Broker | Family::Database));
        [servers, others].into_iter().filter(|team| !team.is_empty()).collect()
    }

    fn messages_seconds(&self) -> f64 {
        f64::from(u32::try_from(self.messages).unwrap_or(u32::MAX)) / self.rate.max(1.0)
    }
}

/// When it is dropped no fault strikes any more, also when the run itself breaks.
struct EndsStrikes(Arc<AtomicBool>);

impl Drop for EndsStrikes {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The run's database and vhost are dropped, so that an hour of runs does not fill disk and memory.
async fn drop_data(site: &Arc<Site>) {
    let its = Arc::clone(site);
    blocking(move || {
        its.servers.broker.rabbitmqctl(&["delete_vhost", its.vhost()]);
    })
    .await;
    let (server, name) = site.db_url.rsplit_once('/').unwrap_or_default();
    if let Some(client) = crate::judge::connect(&format!("{server}/postgres")).await {
        let dropped = client.batch_execute(&format!("drop database if exists {name} with (force)")).await;
        if let Err(error) = dropped {
            eprintln!("the database {name} stays: {error}");
        }
    }
}

/// Servers and processes are waited for on a thread of their own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("a blocking step does not panic")
}
