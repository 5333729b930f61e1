//! Whose turn it is among the flows that have due jobs. Pure.
//!
//! Lanes take turns equally, in a lane its tenants by weight, and the campaigns of a tenant share its turns equally. Each
//! turn has a price, and whoever has paid least goes next (stride scheduling). What was paid is remembered from batch to
//! batch, so that turns also come round when there are more tenants than jobs in a batch.

use std::collections::HashMap;

/// The price of a turn; a tenant pays it divided by its weight.
const PRICE: u64 = 1 << 32;

/// Jobs of one lane, tenant and campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) pool: String,
    pub(crate) class: String,
    pub(crate) group: String,
    pub(crate) tenant: String,
    /// Empty when they belong to none.
    pub(crate) campaign: String,
}

impl Flow {
    fn is_of_lane_of(&self, other: &Self) -> bool {
        (&self.pool, &self.class, &self.group) == (&other.pool, &other.class, &other.group)
    }

    fn is_of_tenant_of(&self, other: &Self) -> bool {
        self.is_of_lane_of(other) && self.tenant == other.tenant
    }
}

/// A flow that has a due job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueFlow {
    pub(crate) flow: Flow,
    /// When its oldest job was due.
    pub(crate) since: i64,
    /// The due time and row of the last job that was taken; everything after it is still there.
    pub(crate) taken: (i64, i64),
}

/// What is remembered from batch to batch: what each flow, its tenant and its lane paid beyond their cheapest peers.
#[derive(Debug, Default)]
pub(crate) struct Rota {
    paid: HashMap<Flow, Paid>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Paid {
    lane: u64,
    tenant: u64,
    flow: u64,
}

/// The turns of one batch.
#[derive(Debug)]
pub(crate) struct Turns {
    lanes: Vec<Seat<Tenants>>,
}

type Tenants = Vec<Seat<Campaigns>>;
type Campaigns = Vec<Seat<DueFlow>>;

#[derive(Debug)]
struct Seat<T> {
    paid: u64,
    price: u64,
    /// Who goes first among equals: the one whose job has waited longest.
    since: i64,
    of: T,
}

/// Whose turn it is. Among equals the first one goes.
fn next<T>(seats: &mut [Seat<T>]) -> Option<&mut Seat<T>> {
    seats.iter_mut().min_by_key(|seat| seat.paid)
}

fn least<T>(seats: &[Seat<T>]) -> u64 {
    seats.iter().map(|seat| seat.paid).min().unwrap_or(0)
}

fn seated<T>(mut seats: Vec<Seat<T>>) -> Vec<Seat<T>> {
    seats.sort_by_key(|seat| seat.since);
    seats
}

impl Turns {
    /// The turns of `flows`, which are in order and not empty-handed. A tenant without a weight has 1.
    pub(crate) fn new(flows: &[DueFlow], before: &Rota, weights: &HashMap<&str, u32>) -> Self {
        let since = |flows: &[DueFlow]| flows.iter().map(|it| it.since).min().unwrap_or(0);
        let paid = |flows: &[DueFlow], of: fn(&Paid) -> u64| {
            flows.iter().filter_map(|it| before.paid.get(&it.flow)).map(of).max().unwrap_or(0)
        };
        let of_tenant = |flows: &[DueFlow]| {
            let seat = |it: &DueFlow| {
                let paid = before.paid.get(&it.flow).map_or(0, |paid| paid.flow);
                Seat { paid, price: PRICE, since: it.since, of: it.clone() }
            };
            seated(flows.iter().map(seat).collect())
        };
        let of_lane = |flows: &[DueFlow]| {
            let seat = |flows: &[DueFlow]| {
                let tenant = flows.first().map_or("", |it| it.flow.tenant.as_str());
                let weight = weights.get(tenant).map_or(1, |weight| u64::from(*weight).max(1));
                Seat {
                    paid: paid(flows, |paid| paid.tenant),
                    price: PRICE / weight,
                    since: since(flows),
                    of: of_tenant(flows),
                }
            };
            seated(flows.chunk_by(|a, b| a.flow.is_of_tenant_of(&b.flow)).map(seat).collect())
        };
        let seat = |flows: &[DueFlow]| Seat {
            paid: paid(flows, |paid| paid.lane),
            price: PRICE,
            since: since(flows),
            of: of_lane(flows),
        };
        Self { lanes: seated(flows.chunk_by(|a, b| a.flow.is_of_lane_of(&b.flow)).map(seat).collect()) }
    }

    /// Gives the next flow its turn; `take` answers whether it took a job, and a flow that did not is out. Answers
    /// whether there was a flow.
    pub(crate) fn turn<E>(&mut self, take: impl FnOnce(&mut DueFlow) -> Result<bool, E>) -> Result<bool, E> {
        let Some(lane) = next(&mut self.lanes) else { return Ok(false) };
        let Some(tenant) = next(&mut lane.of) else { return Ok(false) };
        let Some(campaign) = next(&mut tenant.of) else { return Ok(false) };
        if take(&mut campaign.of)? {
            campaign.paid = campaign.paid.saturating_add(campaign.price);
            tenant.paid = tenant.paid.saturating_add(tenant.price);
            lane.paid = lane.paid.saturating_add(lane.price);
        } else {
            let out = campaign.of.flow.clone();
            tenant.of.retain(|campaign| campaign.of.flow != out);
            lane.of.retain(|tenant| !tenant.of.is_empty());
            self.lanes.retain(|lane| !lane.of.is_empty());
        }
        Ok(true)
    }

    /// What the next batch has to know of the flows that are left.
    pub(crate) fn end(self) -> Rota {
        let mut paid = HashMap::new();
        let least_lane = least(&self.lanes);
        for lane in self.lanes {
            let least_tenant = least(&lane.of);
            for tenant in lane.of {
                let least_flow = least(&tenant.of);
                for campaign in tenant.of {
                    let beyond = Paid {
                        lane: lane.paid - least_lane,
                        tenant: tenant.paid - least_tenant,
                        flow: campaign.paid - least_flow,
                    };
                    paid.insert(campaign.of.flow, beyond);
                }
            }
        }
        Rota { paid }
    }
}

#[cfg(test)]
mod tests;
