//! `[[pool]]`: which ESPs share some traffic.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_types::{EspId, PoolName};

use crate::reader::Section;

const WEIGHT: u32 = 100;
const WEIGHT_MAX: u32 = 10_000;

/// Which jobs of a pool stay with one of its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// Each job goes where there is room, by weight.
    #[default]
    None,
    /// The jobs of one tenant stay with one member while it can.
    Tenant,
}

impl Sticky {
    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tenant => "tenant",
        }
    }
}

/// One ESP of a pool and its share.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Member {
    /// The `name` of an `[[esp]]`. Required.
    #[schemars(with = "String")]
    pub esp: EspId,
    /// Its share of the pool's traffic, relative to the other members', 0 to 10000, default 100. With 0 it is a spare, for when
    /// no other member can send.
    #[schemars(with = "Option<u32>")]
    pub weight: u32,
}

/// One entry of `[[pool]]`. Without any there is one, `default`, with every ESP as a member of weight 100.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PoolConfig {
    /// The word that jobs name it by: a-z 0-9 _ -, at most 64 bytes. Required, used once. One of the pools must be
    /// `default`, since jobs that name no pool go there. Part of queue names.
    #[schemars(with = "String")]
    pub name: PoolName,
    /// The ESPs that share the traffic by weight. Required, at least one.
    pub members: Vec<Member>,
    /// The ESPs that take over when no member can, tried in this order; while members come back from an outage they give the
    /// traffic back by degrees, within 30 s. A backlog at members that can is no reason. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub failover: Vec<EspId>,
    /// What stays with one member while that one can: `none`, or `tenant`, all jobs of one tenant. Default `none`. With
    /// `tenant` the weights hold for the number of tenants, not of jobs.
    #[schemars(default)]
    pub sticky: Sticky,
}

impl PoolConfig {
    pub(crate) fn read(
        section: &mut Section<'_, '_>,
        names: &mut BTreeSet<PoolName>,
        esps: &BTreeSet<EspId>,
    ) -> Option<Self> {
        let name = section.name("name", names);
        let mut taken = BTreeSet::new();
        let before = section.fault_count();
        let members = section.tables("members", |section| {
            let esp = section.required("esp");
            let weight = section.number("weight", WEIGHT, 0..=WEIGHT_MAX);
            if let Some(Err(fault)) = esp.as_ref().map(|esp| place(esp, esps, &mut taken)) {
                section.fault("esp", fault);
            }
            Some(Member { esp: esp?, weight })
        });
        let members_are_sound = section.fault_count() == before;
        let failover = section.texts("failover", |text| {
            let esp: EspId = text.parse().map_err(|error| format!("{error}"))?;
            place(&esp, esps, &mut taken).map(|()| esp)
        });
        let sticky = section.word("sticky", Sticky::default());
        if members_are_sound && members.is_empty() {
            section.fault("members", "needs at least one, like [{ esp = \"...\" }]");
        } else if members_are_sound && members.iter().all(|member| member.weight == 0) && failover.is_empty()
        {
            section.fault(
                "members",
                "every weight is 0 and there is no failover, so nothing would ever be sent",
            );
        }
        Some(Self { name: name?, members, failover, sticky })
    }

    /// The one pool when none is configured.
    pub(crate) fn of_all(esps: impl Iterator<Item = EspId>) -> Self {
        Self {
            name: PoolName::default(),
            members: esps.map(|esp| Member { esp, weight: WEIGHT }).collect(),
            failover: Vec::new(),
            sticky: Sticky::default(),
        }
    }

    /// Every ESP it may send through.
    pub fn esps(&self) -> impl Iterator<Item = &EspId> {
        self.members.iter().map(|member| &member.esp).chain(&self.failover)
    }
}

fn place(esp: &EspId, esps: &BTreeSet<EspId>, taken: &mut BTreeSet<EspId>) -> Result<(), String> {
    if !esps.contains(esp) {
        return Err(format!("there is no [[esp]] with the name `{esp}`"));
    }
    if !taken.insert(esp.clone()) {
        return Err(format!("`{esp}` is in this pool twice"));
    }
    Ok(())
}
