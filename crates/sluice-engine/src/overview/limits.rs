//! Every limit that holds: how far it is used, what waits under it, who holds a share of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use sluice_policy::{BrakeView, RampView, View};
use sluice_types::{Limit, LimitKind, LimitScope};

use super::change::is_of_brake;
use super::{Now, OverviewError};
use crate::plan::is_rate;
use crate::ports::{LimitLook, SlotSource, WaitingKey};

/// Lines of parked jobs looked at.
pub(super) const LINES_MAX: u32 = 2_000;
/// Keys listed beside the limits of the configuration.
const BESIDE_MAX: usize = 2_000;

/// All limits, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RateLimitsView {
    /// Those of ESPs and groups in the order of their names, then tenants, then whatever else jobs wait under.
    pub limits: Vec<RateLimit>,
    /// Limits that each single domain of the group `other` has; listed by domain only while something waits there.
    pub per_domain: Vec<String>,
    /// Jobs that are parked, by the reason why; an estimate where they take more than 64 MiB.
    pub waiting_by_reason: BTreeMap<String, u64>,
    /// Keys that were left out of the list, beyond 2,000 of those that the configuration does not name.
    pub left_out: u64,
}

/// One limit, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimit {
    /// Its key, such as `esp:main/per:s`, or `campaign:TENANT/NAME`.
    pub key: String,
    /// Whose it is, such as `esp:main`.
    pub scope: String,
    /// The limit that holds now, as a sentence; `None` for a campaign, and for a limit that holds no more.
    pub spec: Option<String>,
    /// The limit that the configuration names; `None` where it names none.
    pub configured: Option<String>,
    /// Who has set it at run time.
    pub edited_by: Option<String>,
    /// And when, RFC 3339.
    pub edited_at: Option<String>,
    /// How it counts.
    pub kind: LimitWord,
    /// Slots leased in its current window, or connections held.
    pub used: Option<u64>,
    /// What may still be used in that window.
    pub left: Option<u64>,
    /// Until the next slot opens that nobody has leased; 0: it is open.
    pub next_slot_in_ms: Option<u64>,
    /// Until its window ends, or (rolling) until the oldest use leaves it; `None` when nothing was used.
    pub resets_in_ms: Option<u64>,
    /// Jobs parked in its line, counted up to 10,000.
    pub parked: u64,
    /// When the first of those was first seen, RFC 3339.
    pub oldest: Option<String>,
    /// Jobs that wait for it in the memory of replicas.
    pub waiting: u64,
    /// Leased slots that are not used yet, or connections held, by replica.
    pub holders: BTreeMap<String, u64>,
    /// The brake that is on.
    pub brake: Option<Brake>,
    /// Of a warm-up: where it stands.
    pub ramp: Option<Ramp>,
}

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitWord {
    /// Slots at even distances.
    Rate,
    /// A token bucket.
    Bucket,
    /// Any window of its length.
    Counted,
    /// From the full hour or midnight UTC.
    Calendar,
    /// Today's cap of a warm-up.
    WarmUp,
    /// Calls at the same time.
    Connections,
    /// A rate that is there only while a brake is on.
    Brake,
    /// Not a limit: jobs of a campaign that is or was paused.
    Campaign,
    /// A limit that holds no more: what waits under it is on its way, an edit of it has no effect.
    Gone,
}

/// A brake that is on: the receiver has asked us to slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Brake {
    /// The share of its rate that the scope may use, 1 to 100; 100 for counted limits, which only wait for the hold.
    pub share_percent: u32,
    /// Nothing at all for so long.
    pub hold_ms: u64,
    /// When it is off again, unless it is pulled once more.
    pub off_in_ms: u64,
}

/// Where a warm-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ramp {
    /// Sending days done.
    pub step: u32,
    /// Today's cap; `None` when the warm-up is done.
    pub cap: Option<u32>,
    /// Sent today, as far as reported.
    pub sent_today: u64,
    /// Whether trouble has held it at the last turn of the day.
    pub held: bool,
}

impl LimitWord {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bucket => "bucket",
            Self::Counted => "counted",
            Self::Calendar => "calendar",
            Self::WarmUp => "warm_up",
            Self::Connections => "connections",
            Self::Brake => "brake",
            Self::Campaign => "campaign",
            Self::Gone => "gone",
        }
    }
}

impl Brake {
    /// The brake of a scope, as it concerns a limit that spaces its slots or not.
    pub(super) fn of(view: &BrakeView, is_rate: bool) -> Option<Self> {
        if !is_rate && view.hold_ns <= 0 {
            return None;
        }
        Some(Self {
            share_percent: if is_rate { percent(view.factor) } else { 100 },
            hold_ms: millis(view.hold_ns),
            off_in_ms: millis(view.off_in_ns),
        })
    }
}

impl Ramp {
    pub(super) const fn of(view: &RampView) -> Self {
        Self { step: view.step, cap: view.quota, sent_today: view.sent, held: view.held }
    }
}

/// What is known of keys, whatever they name.
struct Counts<'a> {
    lines: HashMap<&'a str, &'a WaitingKey>,
    waiting: HashMap<&'a str, u64>,
    slots: HashMap<&'a str, BTreeMap<String, u64>>,
}

pub(super) async fn rate_limits(
    now: &Now,
    lines: Vec<WaitingKey>,
    waiting_by_reason: BTreeMap<String, u64>,
    slot_source: &dyn SlotSource,
) -> Result<RateLimitsView, OverviewError> {
    let counts = Counts::of(&now.view, &lines);
    let mut limits = now.plan.limits();
    let named: HashSet<String> = limits.iter().map(Limit::key).collect();
    let (beside, left_out) = counts.beside(now, &named);
    let mut others = Vec::new();
    for key in beside {
        match now.plan.limit_of_key(&key) {
            Some(limit) => limits.push(limit),
            None => others.push(key),
        }
    }
    let looks = look(&limits, slot_source).await?;
    let of_limits = limits.iter().zip(looks).map(|(limit, look)| counts.limit(now, limit, look));
    let of_others = others.iter().map(|key| counts.other(now, key));
    let any_domain = LimitScope::Domain("*".into());
    let per_domain = now.configured.scope_limits(&any_domain);
    Ok(RateLimitsView {
        limits: of_limits.chain(of_others).collect(),
        per_domain: per_domain.iter().map(|limit| limit.spec.to_string()).collect(),
        waiting_by_reason,
        left_out,
    })
}

/// How each limit stands; `None` for connections, which are not leased by time.
pub(super) async fn look(
    limits: &[Limit],
    slot_source: &dyn SlotSource,
) -> Result<Vec<Option<LimitLook>>, OverviewError> {
    let is_timed = |limit: &&Limit| limit.spec.kind != LimitKind::Connections;
    let timed: Vec<Limit> = limits.iter().filter(is_timed).cloned().collect();
    let mut looks = match timed.is_empty() {
        true => Vec::new(),
        false => slot_source.look(&timed).await?,
    }
    .into_iter();
    Ok(limits.iter().map(|limit| if is_timed(&limit) { looks.next() } else { None }).collect())
}

impl<'a> Counts<'a> {
    fn of(view: &'a View, lines: &'a [WaitingKey]) -> Self {
        let lines = lines.iter().map(|line| (line.key.as_str(), line)).collect();
        let mut waiting: HashMap<&str, u64> = HashMap::new();
        let mut slots: HashMap<&str, BTreeMap<String, u64>> = HashMap::new();
        for replica in view.here() {
            for (key, count) in &replica.presence.waiting {
                let total = waiting.entry(key).or_default();
                *total = total.saturating_add(*count);
            }
            for (key, count) in replica.presence.slots.iter().filter(|(_, count)| **count > 0) {
                slots.entry(key).or_default().insert(replica.name.clone(), *count);
            }
        }
        Self { lines, waiting, slots }
    }

    /// Keys that the configuration does not name, those with parked jobs first; and how many are too many.
    fn beside(&self, now: &Now, named: &HashSet<String>) -> (BTreeSet<String>, u64) {
        let braked = now.plan.orders().brakes.iter().filter_map(|(scope, spec)| match scope {
            LimitScope::Domain(_) => Some(Limit { scope: scope.clone(), spec: *spec }.key()),
            LimitScope::Esp(_) | LimitScope::Group(_) | LimitScope::EspGroup(..) | LimitScope::Tenant(_) => {
                None
            }
        });
        let mut lines: Vec<&str> = self.lines.keys().copied().collect();
        lines.sort_unstable();
        let rest: BTreeSet<String> = now
            .view
            .limit_edits
            .keys()
            .cloned()
            .chain(braked)
            .chain(self.waiting.keys().chain(self.slots.keys()).map(|key| (*key).to_owned()))
            .collect();
        let (mut beside, mut left_out) = (BTreeSet::new(), 0);
        for key in lines.into_iter().map(str::to_owned).chain(rest) {
            if named.contains(&key) || beside.contains(&key) {
                continue;
            }
            if beside.len() < BESIDE_MAX {
                beside.insert(key);
            } else {
                left_out += 1;
            }
        }
        (beside, left_out)
    }

    fn limit(&self, now: &Now, limit: &Limit, look: Option<LimitLook>) -> RateLimit {
        let (key, scope) = (limit.key(), limit.scope.to_string());
        let brake = now.view.brakes.get(&scope).and_then(|it| Brake::of(it, is_rate(&limit.spec)));
        let is_ramp = limit.spec.kind == LimitKind::Ramp;
        let ramp = now.view.ramps.get(&scope).filter(|_| is_ramp).map(Ramp::of);
        let mut it = RateLimit {
            spec: Some(limit.spec.to_string()),
            configured: now.configured.limit_of_key(&key).map(|it| it.spec.to_string()),
            kind: word(now, limit),
            brake: brake.filter(|_| look.is_some()),
            ramp,
            ..self.any(now, &key, scope)
        };
        match look {
            Some(look) => {
                it.used = Some(look.used);
                it.left = Some(look.left);
                let next_in_ms = whole_millis(look.next_in);
                it.next_slot_in_ms = Some(next_in_ms.max(it.brake.map_or(0, |brake| brake.hold_ms)));
                it.resets_in_ms = look.resets_in.map(whole_millis);
            }
            None => {
                let held = now.view.connections.get(&key).map(|it| &it.held);
                let held =
                    held.into_iter().flatten().map(|(name, held)| (name.clone(), u64::from(held.count)));
                it.holders = held.filter(|(_, count)| *count > 0).collect();
                let used = it.holders.values().sum();
                it.used = Some(used);
                it.left = Some(u64::from(limit.spec.count.get()).saturating_sub(used));
            }
        }
        it
    }

    /// A key that names no limit that holds.
    fn other(&self, now: &Now, key: &str) -> RateLimit {
        let spec = now.view.limit_edits.get(key).map(|edit| edit.spec.clone());
        match Limit::scope_of_key(key) {
            Some(scope) => RateLimit { kind: LimitWord::Gone, spec, ..self.any(now, key, scope.to_string()) },
            None => self.any(now, key, key.to_owned()),
        }
    }

    fn any(&self, now: &Now, key: &str, scope: String) -> RateLimit {
        let (line, edit) = (self.lines.get(key), now.view.limit_edits.get(key));
        RateLimit {
            key: key.to_owned(),
            scope,
            spec: None,
            configured: None,
            edited_by: edit.map(|edit| edit.by.clone()),
            edited_at: edit.map(|edit| edit.at.clone()),
            kind: LimitWord::Campaign,
            used: None,
            left: None,
            next_slot_in_ms: None,
            resets_in_ms: None,
            parked: line.map_or(0, |line| line.jobs),
            oldest: line.map(|line| line.oldest.to_string()),
            waiting: self.waiting.get(key).copied().unwrap_or(0),
            holders: self.slots.get(key).cloned().unwrap_or_default(),
            brake: None,
            ramp: None,
        }
    }
}

fn word(now: &Now, limit: &Limit) -> LimitWord {
    match limit.spec.kind {
        LimitKind::Spaced { .. } if is_of_brake(now, limit) => LimitWord::Brake,
        LimitKind::Spaced { .. } => LimitWord::Rate,
        LimitKind::Bucket { .. } => LimitWord::Bucket,
        LimitKind::Counted { .. } => LimitWord::Counted,
        LimitKind::Calendar { .. } => LimitWord::Calendar,
        LimitKind::Ramp => LimitWord::WarmUp,
        LimitKind::Connections => LimitWord::Connections,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
fn percent(share: f64) -> u32 {
    ((share * 100.0).round() as u32).clamp(1, 100)
}

/// Milliseconds of nanoseconds, rounded up so that nothing is announced too early.
pub(super) fn millis(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0).div_ceil(1_000_000)
}

pub(super) fn whole_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
