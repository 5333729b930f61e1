//! Every ESP: its breaker over the fleet, its brakes and quotas, and what its calls come to.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_policy::{FleetBreaker, View};
use sluice_types::{EspId, Limit, LimitKind, LimitScope};

use super::limits::{Brake, Ramp, look, millis};
use super::{Now, OverviewError};
use crate::ports::{LimitLook, SlotSource};

/// Length of the window that rates are told of.
const MINUTE_SECONDS: f64 = 60.0;

/// One ESP over the fleet, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EspView {
    /// Its name.
    pub name: String,
    /// Its breaker.
    pub breaker: BreakerStatus,
    /// Brakes that are on, on all of it or on single groups.
    pub brakes: Vec<ScopeBrake>,
    /// Calls in flight over all replicas.
    pub in_flight: u64,
    /// Calls per second in the last whole minute, by what they came to: `accepted`, or the word of the category.
    pub rates: BTreeMap<String, f64>,
    /// Calls of the last ten minutes that were not accepted, by category.
    pub recent: BTreeMap<String, u64>,
    /// Its limits over messages, and those of single groups at it.
    pub quotas: Vec<Quota>,
    /// Its warm-up, and those of single groups.
    pub warm_up: Vec<WarmUp>,
}

/// A breaker as the fleet knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// `open` or `closed` while an operator holds it so.
    pub forced: Option<&'static str>,
    /// While open of its own: milliseconds until probes are let through.
    pub open_for_ms: Option<u64>,
    /// How many times in a row it has opened.
    pub trips: u32,
    /// Probes under way.
    pub probing: u32,
}

/// A brake, and what it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeBrake {
    /// `esp:NAME` or `esp:NAME/group:NAME`.
    pub scope: String,
    /// The brake.
    #[serde(flatten)]
    pub brake: Brake,
}

/// How far a limit is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Its key.
    pub key: String,
    /// The limit that holds now, as a sentence.
    pub spec: String,
    /// Slots leased in its current window.
    pub used: u64,
    /// What may still be leased in that window.
    pub left: u64,
    /// Until its window ends, or (rolling) until the oldest use leaves it; `None` when nothing was used.
    pub resets_in_ms: Option<u64>,
}

/// A warm-up, and what it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WarmUp {
    /// `esp:NAME` or `esp:NAME/group:NAME`.
    pub scope: String,
    /// Where it stands.
    #[serde(flatten)]
    pub ramp: Ramp,
}

pub(super) async fn esps(now: &Now, slot_source: &dyn SlotSource) -> Result<Vec<EspView>, OverviewError> {
    let mut limits: Vec<Limit> = now.plan.limits();
    limits.retain(|limit| {
        esp_of(&limit.scope).is_some() && !matches!(limit.spec.kind, LimitKind::Connections | LimitKind::Ramp)
    });
    let looks = look(&limits, slot_source).await?;
    let standing: Vec<(&Limit, LimitLook)> =
        limits.iter().zip(looks).filter_map(|(limit, look)| Some((limit, look?))).collect();
    Ok(now.plan.esps().map(|(esp, _)| view(now, esp, &standing)).collect())
}

fn esp_of(scope: &LimitScope) -> Option<&EspId> {
    match scope {
        LimitScope::Esp(esp) | LimitScope::EspGroup(esp, _) => Some(esp),
        LimitScope::Group(_) | LimitScope::Tenant(_) | LimitScope::Domain(_) => None,
    }
}

fn view(now: &Now, esp: &EspId, standing: &[(&Limit, LimitLook)]) -> EspView {
    let fleet = &now.view;
    let name = esp.to_string();
    let is_its = |scope: &str| scope.parse().ok().is_some_and(|scope| esp_of(&scope) == Some(esp));
    let brakes = fleet.brakes.iter().filter(|(scope, _)| is_its(scope)).filter_map(|(scope, brake)| {
        Some(ScopeBrake { scope: scope.clone(), brake: Brake::of(brake, true)? })
    });
    let in_flight = fleet.here().filter_map(|it| it.presence.in_flight.get(&name));
    let quotas = standing.iter().filter(|(limit, _)| esp_of(&limit.scope) == Some(esp));
    let terms = now.plan.ramps();
    let ramps = terms.iter().filter(|it| is_its(&it.scope)).filter_map(|it| {
        let ramp = fleet.ramps.get(&it.scope)?;
        Some(WarmUp { scope: it.scope.clone(), ramp: Ramp::of(ramp) })
    });
    let (rates, recent) = calls(fleet, &name);
    EspView {
        breaker: BreakerStatus::of(fleet.breakers.get(&name)),
        brakes: brakes.collect(),
        in_flight: in_flight.fold(0, |sum, count| sum.saturating_add(*count)),
        rates,
        recent,
        quotas: quotas.map(|(limit, look)| Quota::of(limit, look)).collect(),
        warm_up: ramps.collect(),
        name,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn calls(fleet: &View, esp: &str) -> (BTreeMap<String, f64>, BTreeMap<String, u64>) {
    let Some(tally) = fleet.tally.get(esp) else { return Default::default() };
    let rate = |(word, count): (&String, &u64)| (word.clone(), *count as f64 / MINUTE_SECONDS);
    let recent = tally.last_ten_minutes.iter().filter(|(word, _)| *word != "accepted");
    let recent = recent.map(|(word, count)| (word.clone(), *count)).collect();
    (tally.last_minute.iter().map(rate).collect(), recent)
}

impl BreakerStatus {
    fn of(known: Option<&FleetBreaker>) -> Self {
        let known = known.cloned().unwrap_or_default();
        let forced = known.order.map(|open| if open { "open" } else { "closed" });
        let own = match known.open_for_ns {
            None => "closed",
            Some(ns) if ns > 0 => "open",
            Some(_) => "half_open",
        };
        let state = forced.unwrap_or(own);
        let open_for_ms = known.open_for_ns.filter(|_| state == "open" && forced.is_none()).map(millis);
        Self { state, forced, open_for_ms, trips: known.trips, probing: known.probing }
    }
}

impl Quota {
    fn of(limit: &Limit, look: &LimitLook) -> Self {
        Self {
            key: limit.key(),
            spec: limit.spec.to_string(),
            used: look.used,
            left: look.left,
            resets_in_ms: look.resets_in.map(super::limits::whole_millis),
        }
    }
}
