//! `[[tenant]]`: limits of one tenant.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use sluice_types::{LimitSpec, Tenant};

use crate::limits::read_limits;
use crate::reader::Section;

/// One entry of `[[tenant]]`. Tenants that are not named here have no limit of their own.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TenantConfig {
    /// The `tenant` of its jobs. Required, used once.
    #[schemars(with = "String")]
    pub name: Tenant,
    /// Limits of the tenant, over all ESPs and replicas. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits: Vec<LimitSpec>,
}

impl TenantConfig {
    pub(crate) fn read(section: &mut Section<'_, '_>, names: &mut BTreeSet<Tenant>) -> Option<Self> {
        let name = section.name("name", names);
        let limits = read_limits(section, "limits");
        Some(Self { name: name?, limits })
    }
}
