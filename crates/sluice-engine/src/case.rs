//! One job in work: what its steps hand from one to the next.

use bytes::Bytes;
use sluice_types::{GroupName, Job, Lane, Limit, LimitScope, Tick, Timestamp, WaitReason};

use crate::ports::{Due, Parked, Passport};
use crate::worker::Worker;

/// A decoded job with its delivery's body and passport.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) job: Box<Job>,
    pub(crate) body: &'a Bytes,
    pub(crate) passport: &'a Passport,
    pub(crate) lane: &'a Lane,
    /// The group of the recipient's domain: the body decides, not the lane.
    pub(crate) group: GroupName,
    /// Whether its lane is that of its domain alone.
    pub(crate) has_own_lane: bool,
    /// When this delivery came.
    pub(crate) arrived: Tick,
    /// When Sluice first saw the job, by the store's clock; after its first attempt, when that ended.
    pub(crate) first_seen: Timestamp,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        worker: &Worker,
        lane: &'a Lane,
        job: Box<Job>,
        group: GroupName,
        body: &'a Bytes,
        passport: &'a Passport,
    ) -> Self {
        let first_seen = passport.first_seen.unwrap_or_else(|| worker.now());
        let has_own_lane =
            lane.side.is_some() && worker.plan().is_lane_of_domain(lane, job.to.email.domain());
        Self { job, body, passport, lane, group, has_own_lane, arrived: worker.clock.tick(), first_seen }
    }

    /// From when on its attempts are spread, once `attempt` has been made: what it has waited before the first, for its
    /// `send_at` or under a limit, does not count.
    pub(crate) fn tried_since(&self, attempt: u32, now: Timestamp) -> Timestamp {
        if attempt <= 1 { now } else { self.first_seen }
    }

    /// The parked copy of this job, to go on with the same attempt.
    pub(crate) fn parked(&self, due: Due, reason: WaitReason) -> Parked {
        let mut passport = self.passport.clone();
        passport.first_seen = Some(self.first_seen);
        Parked {
            id: self.job.id.clone(),
            tenant: self.job.tenant.clone(),
            campaign: self.job.campaign.clone(),
            pool: self.job.pool.clone(),
            class: self.job.class,
            domain: self.job.to.email.domain().to_owned(),
            group: self.group.clone(),
            due,
            reason,
            limit_key: None,
            expires_at: self.job.expires_at,
            body: self.body.clone(),
            passport,
        }
    }

    /// No later than it expires: it is closed then.
    pub(crate) fn by_expiry(&self, due: Due, now: Timestamp) -> Due {
        match (due, self.job.expires_at) {
            (Due::At(at), Some(end)) => Due::At(at.min(end)),
            (Due::In(wait), Some(end)) if now + wait > end => Due::At(end),
            (due, _) => due,
        }
    }

    /// Whether the job's end has come.
    pub(crate) fn has_expired(&self, worker: &Worker) -> bool {
        self.job.expires_at.is_some_and(|at| at <= worker.now())
    }

    /// `until`, or when the job expires.
    pub(crate) fn until_expiry(&self, worker: &Worker, until: Tick) -> Tick {
        self.job.expires_at.map_or(until, |end| until.min(worker.clock.tick() + end.after(worker.now())))
    }

    /// The parked copy of this job, in the line of those that `limit` holds.
    pub(crate) fn in_line(&self, limit: &Limit) -> Parked {
        let mut parked = self.parked(Due::InLine, limit.wait_reason());
        parked.limit_key = Some(limit.key());
        parked
    }

    /// Whether a limit holds every job of this lane, and not only some.
    pub(crate) fn governs_lane(&self, scope: &LimitScope) -> bool {
        match scope {
            LimitScope::Esp(_) => true,
            LimitScope::Group(group) | LimitScope::EspGroup(_, group) => *group == self.lane.group,
            LimitScope::Domain(_) => self.has_own_lane,
            LimitScope::Tenant(_) => false,
        }
    }
}
