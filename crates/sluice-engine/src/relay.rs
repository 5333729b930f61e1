//! Publishes parked jobs whose time has come, and removes them once the broker has confirmed.
//!
//! Jobs with a due time go when it has come, tenants in turns. Jobs in line under a limit go as its slots open, in turns too: as
//! many as will open while a job is held, each once, whatever the number of relays. Of what a counted limit has left, the share
//! that is reserved for transactional jobs is for those in the line: a bulk job would only be parked again. Those that expire
//! there go at once, to be closed. And what waits for one ESP goes as soon as another of its pool has room for it.

mod budget;
mod elsewhere;
mod openings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{BodySize, CampaignOrder, Order, Report, nanos};
use sluice_telemetry::Dependency;
use sluice_types::{BODY_MAX_BYTES, Class, JobId, Lane, Tick};
use tokio_util::sync::CancellationToken;

use crate::failpoint::{Failpoint, at};
use crate::health::chain;
use crate::plan::Plan;
use crate::ports::{
    DueBatch, DueQuery, LedgerError, PendingJob, Publication, PublishError, ReleaseQuery, WaitingKey,
};
use crate::worker::Worker;
use budget::{cut_counts, cut_wishes, parts};
use elsewhere::{ELSEWHERE, Held, Looks};
use openings::{URGENT, openings};

/// Lines looked at in one round; where there are more, the next one goes on after them.
const LINES_MAX: u32 = 2_000;
/// Pause between two rounds over the lines.
const LINES_EVERY: Duration = Duration::from_millis(500);
/// Batches of expired jobs in one round over the lines.
const EXPIRED_BATCHES: usize = 4;
/// How old the depths of the lanes may be.
const DEPTHS_KEPT: Duration = Duration::from_millis(500);
/// A lane is long enough with so many seconds of its rate, and at least so many jobs.
const LANE_SECONDS: u32 = 10;
const LANE_LEAST: u64 = 500;
/// And with so many in any case.
const LANE_MOST: u64 = 10_000;
/// Jobs in line still go into a lane so many times as long: what is due would keep it full, and go before them all.
const LINES_BEYOND: u64 = 2;
/// Jobs of lines that go at a time: they are in memory, and locked in one transaction, until the broker has them.
const PART_MAX: u32 = 1_000;
/// So many lanes that are no more are known.
const MOVED_MAX: usize = 1_000;

/// Whose turn it is to be looked at, where there are more lines than are in one round: those after this one.
#[derive(Debug, Default)]
struct Turn(Option<String>);

impl Turn {
    fn after(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// An answer that was not cut ends with the last line of all, and the first is next.
    fn looked_at(&mut self, lines: &[WaitingKey], max: u32) {
        let is_cut = u32::try_from(lines.len()).is_ok_and(|count| count >= max);
        self.0 = lines.last().filter(|_| is_cut).map(|line| line.key.clone());
    }
}

/// How many jobs of each line may go now.
#[derive(Debug, Default)]
struct Releases {
    /// Of any class.
    any: Vec<(String, u32)>,
    /// And of these lines as many transactional ones.
    urgent: Vec<(String, u32)>,
    /// And of these as many as other ESPs than theirs have room for.
    elsewhere: Vec<Elsewhere>,
}

/// How many jobs of which lines may go, but for those of closed lanes.
#[derive(Debug)]
struct Elsewhere {
    counts: Vec<(String, u32)>,
    closed: Vec<Lane>,
}

/// The line of jobs whose campaign is paused.
pub(crate) fn line_of_campaign(tenant: &str, campaign: &str) -> String {
    format!("campaign:{tenant}/{campaign}")
}

/// Whether `key` is the line of a campaign that is paused.
pub(crate) fn is_paused(campaigns: &[CampaignOrder], key: &str) -> bool {
    let mut paused = campaigns.iter().filter(|it| it.order == Order::Paused);
    paused.any(|it| key == line_of_campaign(&it.tenant, &it.campaign))
}

/// Moves due jobs from `pending` into their lanes until the process drains.
pub(crate) async fn run_relay(worker: Arc<Worker>, stop: CancellationToken) {
    let (mut lanes, mut turn) = (Lanes::default(), Turn::default());
    let mut lines_at = Tick::ZERO;
    tokio::select! {
        () = stop.cancelled() => return,
        () = worker.link.wait_known() => {}
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.health.wait_up(Dependency::Store) => {}
        }
        let with_lines = worker.clock.tick().since(lines_at) >= LINES_EVERY;
        let more = match round(&worker, &mut lanes, with_lines.then_some(&mut turn)).await {
            Ok(more) => more,
            Err(error) => {
                worker.health.down(Dependency::Store, &error);
                false
            }
        };
        // From the end on: lines that fail each time, after a while, do not keep what is due from its turn.
        if with_lines {
            lines_at = worker.clock.tick();
        }
        if more {
            continue;
        }
        let interval = worker.plan().bounds().relay_interval;
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.due_now.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// One batch of due jobs, and now and then one of those in line; answers whether there is likely more at once.
async fn round(
    worker: &Worker,
    lanes: &mut Lanes,
    with_lines: Option<&mut Turn>,
) -> Result<bool, LedgerError> {
    lanes.refresh(worker).await;
    let plan = worker.plan();
    if let Some(turn) = with_lines {
        close_expired(worker, lanes, &plan).await?;
        let lines = worker.ledger.waiting(turn.after(), LINES_MAX, plan.bounds().relay_batch).await?;
        turn.looked_at(&lines, LINES_MAX);
        let Releases { any, urgent, elsewhere } = releases(worker, &plan, &lines).await;
        let mut query = ReleaseQuery {
            counts: Vec::new(),
            full: Vec::new(),
            paused: ordered(worker, Order::Paused),
            cancelled: ordered(worker, Order::Cancelled),
            weights: plan.weights().to_vec(),
        };
        release(worker, lanes, &mut query, any, |lanes| lanes.full_for_lines(&plan)).await?;
        release(worker, lanes, &mut query, urgent, |lanes| lanes.full_or_bulk(&plan)).await?;
        for Elsewhere { counts, closed } in elsewhere {
            let full = |lanes: &Lanes| {
                lanes.full_for_lines(&plan).into_iter().chain(closed.iter().cloned()).collect()
            };
            release(worker, lanes, &mut query, counts, full).await?;
        }
    }
    let query = DueQuery {
        max: lanes.fit(plan.bounds().relay_batch),
        full: lanes.full(&plan),
        paused: ordered(worker, Order::Paused),
        weights: plan.weights().to_vec(),
    };
    match worker.ledger.due(&query).await? {
        Some(batch) => Ok(publish(worker, lanes, batch).await == Went::Whole),
        None => Ok(false),
    }
}

/// Publishes so many jobs of each line, part by part, but for those of lanes that are full by then; until a server is away.
async fn release(
    worker: &Worker,
    lanes: &mut Lanes,
    query: &mut ReleaseQuery,
    counts: Vec<(String, u32)>,
    full: impl Fn(&Lanes) -> Vec<Lane>,
) -> Result<(), LedgerError> {
    for part in parts(counts, lanes.fit(PART_MAX)) {
        (query.counts, query.full) = (part, full(lanes));
        if let Some(batch) = worker.ledger.release(query).await?
            && publish(worker, lanes, batch).await == Went::Nowhere
        {
            break;
        }
    }
    Ok(())
}

/// The campaigns for which an order stands, as (tenant, campaign).
fn ordered(worker: &Worker, order: Order) -> Vec<(String, String)> {
    let view = worker.link.view();
    let campaigns = view.campaigns.iter().filter(|it| it.order == order);
    campaigns.map(|it| (it.tenant.clone(), it.campaign.clone())).collect()
}

/// Sends what has expired in line to be closed: that takes no slot, so it waits for none.
async fn close_expired(worker: &Worker, lanes: &mut Lanes, plan: &Plan) -> Result<(), LedgerError> {
    for _ in 0..EXPIRED_BATCHES {
        let max = lanes.fit(plan.bounds().relay_batch);
        let Some(batch) = worker.ledger.expired(max, &lanes.full(plan)).await? else { break };
        let is_last = batch.jobs().len() < usize::try_from(max).unwrap_or(usize::MAX);
        if publish(worker, lanes, batch).await != Went::Whole || is_last {
            break;
        }
    }
    Ok(())
}

/// How many jobs of each line may go now. When that cannot be found out, none.
async fn releases(worker: &Worker, plan: &Plan, lines: &[WaitingKey]) -> Releases {
    let batch = plan.bounds().relay_batch;
    let view = worker.link.view();
    let (mut releases, mut limits, mut asking) = (Releases::default(), Vec::new(), Vec::new());
    for line in lines {
        let count = u32::try_from(line.jobs).unwrap_or(u32::MAX).min(batch);
        match plan.limit_of_key(&line.key) {
            Some(limit) => {
                limits.push(limit);
                asking.push((line.key.clone(), count));
            }
            // A limit that is no more, or a campaign that goes on: whoever waits is free to go.
            None if !is_paused(&view.campaigns, &line.key) => releases.any.push((line.key.clone(), count)),
            None => {}
        }
    }
    cut_counts(&mut releases.any);
    if limits.is_empty() {
        return releases;
    }
    let held: Vec<Held> = asking
        .iter()
        .zip(&limits)
        .map(|((key, count), limit)| Held { key: key.clone(), scope: limit.scope.clone(), count: *count })
        .collect();
    let pools = elsewhere::pools(plan, &held);
    limits.extend(elsewhere::limits(plan, &pools, &held));
    let looks = match worker.slot_source.look(&limits).await {
        Ok(looks) => looks,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "could not look at limits");
            return releases;
        }
    };
    let ahead_ns = nanos(plan.bounds().hold_max);
    let mut wishes = Vec::with_capacity(asking.len());
    let mut known = HashMap::with_capacity(limits.len());
    let mut asking = asking.into_iter();
    for (limit, look) in limits.iter().zip(&looks) {
        let brake = view.brakes.get(&limit.scope.to_string());
        let openings = openings(limit, look, brake, plan.bounds().reserved_permille);
        known.insert(limit.key(), openings.any);
        if let Some((key, count)) = asking.next() {
            wishes.extend(openings.wishes(key, count, ahead_ns));
        }
    }
    let all =
        Looks { plan, pools: &pools, view: &view, held: &held, openings: &known, ahead_ns, count_max: batch };
    let ways = all.ways();
    wishes.extend(elsewhere::wishes(&ways, batch, ahead_ns));
    cut_wishes(&mut wishes);
    let report = Report { replica: worker.link.replica.clone(), releases: wishes, ..Report::default() };
    match worker.link.fleet.exchange(&report).await {
        Ok(view) => {
            let counts = elsewhere::counts(&ways, &view.releases, batch);
            let each = ways.iter().zip(counts).filter(|(_, counts)| !counts.is_empty());
            let each = each.map(|(way, counts)| Elsewhere { counts, closed: way.others(plan) });
            releases.elsewhere = each.collect();
            releases.add(view.releases.into_iter().filter(|(key, _)| !key.ends_with(ELSEWHERE)));
        }
        Err(error) => tracing::warn!(error = %chain(&error), "could not ask how many jobs may go"),
    }
    releases
}

impl Releases {
    fn add(&mut self, granted: impl IntoIterator<Item = (String, u32)>) {
        for (key, count) in granted {
            match key.strip_suffix(URGENT) {
                Some(line) => self.urgent.push((line.to_owned(), count)),
                None => self.any.push((key, count)),
            }
        }
    }
}

/// How long the lanes are, so that they are kept short: what waits in the store can still be paused and takes turns.
#[derive(Debug)]
struct Lanes {
    depths: HashMap<Lane, u64>,
    /// Lanes that the plan has no more, and those that their jobs go into.
    moved: HashMap<Lane, Lane>,
    read_at: Option<Tick>,
    /// How large the jobs are that went into them; before any has, as large as can be.
    bodies: BodySize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            depths: HashMap::new(),
            moved: HashMap::new(),
            read_at: None,
            bodies: BodySize::assumed(BODY_MAX_BYTES),
        }
    }
}

impl Lanes {
    /// How many jobs to have in memory at a time: no more than `most`.
    fn fit(&self, most: u32) -> u32 {
        most.min(u32::from(self.bodies.fit()))
    }

    async fn refresh(&mut self, worker: &Worker) {
        let now = worker.clock.tick();
        if self.read_at.is_some_and(|at| now.since(at) < DEPTHS_KEPT) {
            return;
        }
        self.read_at = Some(now);
        let planned = worker.plan().lanes();
        self.moved.retain(|lane, _| !planned.contains(lane));
        match worker.inbox.depths(&planned).await {
            Ok(depths) => self.depths = depths.into_iter().map(|it| (it.lane, it.ready)).collect(),
            // The publication itself tells whether the broker is away.
            Err(error) => tracing::debug!(error = %chain(&error), "could not read how long the lanes are"),
        }
    }

    /// Those that take no more of what is due.
    fn full(&self, plan: &Plan) -> Vec<Lane> {
        self.longer_than(|lane| enough(plan, lane))
    }

    /// Those that take no more of what stands in line either.
    fn full_for_lines(&self, plan: &Plan) -> Vec<Lane> {
        self.longer_than(|lane| LINES_BEYOND * enough(plan, lane))
    }

    fn longer_than(&self, length: impl Fn(&Lane) -> u64) -> Vec<Lane> {
        let is_longer = |lane: &Lane| self.depths.get(lane).is_some_and(|depth| *depth >= length(lane));
        let moved = self.moved.iter().filter(|(_, into)| is_longer(into)).map(|(lane, _)| lane);
        self.depths.keys().filter(|lane| is_longer(lane)).chain(moved).cloned().collect()
    }

    /// One more job goes from `pending` into a lane.
    fn add(&mut self, planned: &[Lane], job: &PendingJob, into: &Lane) {
        *self.depths.entry(into.clone()).or_default() += 1;
        self.bodies.seen(job.body.len());
        let parked = Lane { pool: job.pool.clone(), class: job.class, group: job.group.clone(), side: None };
        if self.moved.len() < MOVED_MAX && !planned.contains(&parked) {
            self.moved.insert(parked, into.clone());
        }
    }

    /// Those and all of bulk jobs.
    fn full_or_bulk(&self, plan: &Plan) -> Vec<Lane> {
        let all = plan.lanes().into_iter().chain(self.moved.keys().cloned());
        let bulk = all.filter(|lane| lane.class == Class::Bulk);
        self.full_for_lines(plan).into_iter().filter(|lane| lane.class != Class::Bulk).chain(bulk).collect()
    }
}

fn enough(plan: &Plan, lane: &Lane) -> u64 {
    match plan.lane_rate(lane) {
        Some(rate) => whole(rate * f64::from(LANE_SECONDS)).clamp(LANE_LEAST, LANE_MOST),
        None => LANE_MOST,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn whole(count: f64) -> u64 {
    count as u64
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    /// All of it went, so that it is worth asking for more at once.
    Whole,
    /// Some jobs did not.
    InPart,
    /// The broker is away, or the store: others would not go either, and each may wait for a timeout to show it.
    Nowhere,
}

/// Publishes one batch.
async fn publish(worker: &Worker, lanes: &mut Lanes, batch: Box<dyn DueBatch>) -> Went {
    let plan = worker.plan();
    let planned = plan.lanes();
    let mut publications = Vec::with_capacity(batch.jobs().len());
    for job in batch.jobs() {
        let publication = publication(&plan, lanes, job);
        lanes.add(&planned, job, &publication.lane);
        publications.push(publication);
    }
    let ids: Vec<JobId> = publications.iter().map(|it| it.id.clone()).collect();
    ids.iter().for_each(|id| at(Failpoint::RelayTook, || Some(id.to_string())));
    let results = worker.outbox.publish(publications).await;
    let mut confirmed = Vec::with_capacity(ids.len());
    let mut is_away = false;
    for (id, result) in ids.into_iter().zip(results) {
        match result {
            // A job that is queued already needs no second copy.
            Ok(()) | Err(PublishError::Duplicate) => confirmed.push(id),
            Err(error) => {
                is_away |= matches!(error, PublishError::Unavailable(_));
                tracing::warn!(job = %id, error = %chain(&error), "could not publish a parked job");
            }
        }
    }
    confirmed.iter().for_each(|id| at(Failpoint::RelayConfirmed, || Some(id.to_string())));
    let is_whole = confirmed.len() == batch.jobs().len();
    match batch.published(&confirmed).await {
        Ok(()) => {
            confirmed.iter().for_each(|id| at(Failpoint::RelayDeleted, || Some(id.to_string())));
            worker.metrics.released(u64::try_from(confirmed.len()).unwrap_or(u64::MAX));
            match is_away {
                true => Went::Nowhere,
                false if is_whole => Went::Whole,
                false => Went::InPart,
            }
        }
        Err(error) => {
            // They will be published again, and the claim makes the second copy a no-op.
            worker.health.down(Dependency::Store, &error);
            Went::Nowhere
        }
    }
}

fn publication(plan: &Plan, lanes: &Lanes, job: &PendingJob) -> Publication {
    // A domain that is named belongs where its name says, whatever its exchanges said when it was parked.
    let group = if plan.names_domain(&job.domain) { plan.group_of(&job.domain) } else { job.group.clone() };
    let mut lane = plan.lane_of_group(&job.pool, job.class, group, &job.domain);
    // A side lane is kept short too; what finds it full is put aside again in the lane of all others.
    if lane.side.is_some() && lanes.depths.get(&lane).is_some_and(|depth| *depth >= enough(plan, &lane)) {
        lane.side = None;
    }
    Publication { id: job.id.clone(), lane, body: job.body.clone(), passport: job.passport.clone() }
}

#[cfg(test)]
mod tests;
