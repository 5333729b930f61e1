//! `[[tenant]]`: limits and weight of one tenant.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use sluice_types::{LimitSpec, Tenant};

use crate::limits::read_limits;
use crate::reader::Section;

const WEIGHT: u32 = 1;
const WEIGHT_MAX: u32 = 100;

/// One entry of `[[tenant]]`. Tenants that are not named here have no limit of their own, and weight 1.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TenantConfig {
    /// The `tenant` of its jobs. Required, used once.
    #[schemars(with = "String")]
    pub name: Tenant,
    /// Limits of the tenant, over all ESPs and replicas. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits: Vec<LimitSpec>,
    /// Turns that it gets in each round when the relay feeds the lanes, 1 to 100, default 1. More: its backlog goes out
    /// sooner, and the other tenants' later.
    #[schemars(with = "Option<u32>")]
    pub weight: u32,
}

impl TenantConfig {
    pub(crate) fn read(section: &mut Section<'_, '_>, names: &mut BTreeSet<Tenant>) -> Option<Self> {
        let name = section.name("name", names);
        let limits = read_limits(section, "limits");
        let weight = section.number("weight", WEIGHT, 1..=WEIGHT_MAX);
        Some(Self { name: name?, limits, weight })
    }
}
