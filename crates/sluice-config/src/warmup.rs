//! `[esp.warmup]`: how much a fresh account, or one domain group at it, may send on each of its first days.

mod presets;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use sluice_types::{COUNT_MAX, GroupName};

use self::presets::Preset;
use crate::reader::Section;
use crate::schema::add_key;

/// Most days of a ramp.
const DAYS_MAX: usize = 400;
const GROWTH_MAX: f64 = 10.0;
const HOLD_ABOVE: f64 = 0.05;
/// What the binary fractions of a product of powers may be off by, relative to it.
const ROUNDING: f64 = 1e-12;
/// The ways to say a ramp, each by its keys.
const WAYS: [&[&str]; 3] = [&["preset"], &["caps"], &["first", "growth", "cap"]];

/// The warm-up of one ESP account.
#[derive(Clone, Debug, PartialEq)]
pub struct Warmup {
    /// Most messages on each sending day, UTC, from the first one on, over all replicas; never falling, 1 to 400 of them.
    /// After the last one there is no cap.
    pub caps: Vec<u32>,
    /// Share of sends of a day that were deferred, refused or reported as bounced since, above which the next sending day repeats its
    /// cap. 0.0 to 1.0.
    pub hold_above: f64,
    /// Ramps of single domain groups at this ESP, which hold as well.
    pub groups: BTreeMap<GroupName, Ramp>,
}

/// The warm-up of one domain group at one ESP account.
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp {
    /// Like [`Warmup::caps`], for the group.
    pub caps: Vec<u32>,
    /// Like [`Warmup::hold_above`], for the group.
    pub hold_above: f64,
}

/// The keys of a ramp as they are written. Exactly one of `preset`, `caps`, and `first` with `growth` and `cap`.
#[derive(JsonSchema)]
#[schemars(rename = "Ramp", deny_unknown_fields)]
struct RampKeys {
    /// A published ramp, for one IP address: `sparkpost` (29 days), `sendgrid` (17 days) or `sendgrid-automated` (36 days).
    preset: Option<Preset>,
    /// Most messages on each sending day, 1 to 400 numbers of 1 to 100000000, none below the one before it. After the last
    /// one there is no cap.
    caps: Option<Vec<u32>>,
    /// Most messages on the first sending day, 1 to 100000000. Goes with `growth` and `cap`.
    first: Option<u32>,
    /// How much more each sending day may take than the one before, above 1.0 up to 10.0. More: mailbox providers see much
    /// mail from a sender that they hardly know. Less: the ramp takes longer; 400 days at most.
    growth: Option<f64>,
    /// Most messages on the last day of the ramp, `first` to 100000000. After it there is no cap.
    cap: Option<u32>,
    /// Share of sends of a day that were deferred, refused or reported as bounced since, above which the next sending day repeats its
    /// cap, 0.0 to 1.0, default
    /// 0.05. More: a bad reception is run into with more mail. Less: a few bad addresses stop the growth.
    #[schemars(with = "Option<f64>")]
    hold_above: f64,
}

impl Warmup {
    pub(crate) fn read(section: &mut Section<'_, '_>, known: &BTreeSet<GroupName>) -> Option<Self> {
        let has_groups = section.has("groups");
        let ramp = Ramp::read(section);
        let faults_before = section.fault_count();
        let groups: BTreeMap<GroupName, Ramp> = section
            .named_tables("groups", |name, section| {
                let name = group_name(name, known).map_err(|fault| section.fault_here(fault)).ok();
                let ramp = Ramp::read(section);
                Some((name?, ramp?))
            })
            .into_iter()
            .collect();
        if has_groups && groups.is_empty() && section.fault_count() == faults_before {
            section.fault("groups", "names no group; write it like [esp.warmup.groups.gmail]");
        }
        let Ramp { caps, hold_above } = ramp?;
        Some(Self { caps, hold_above, groups })
    }
}

impl Ramp {
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let faults_before = section.fault_count();
        check_way(section);
        let keys = RampKeys::read(section);
        let caps = keys.days(section)?;
        (section.fault_count() == faults_before).then_some(Self { caps, hold_above: keys.hold_above })
    }
}

impl RampKeys {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            preset: section.optional_word("preset"),
            caps: section.numbers("caps", 1..=COUNT_MAX),
            first: section.optional_number("first", 1..=COUNT_MAX),
            growth: section.optional_decimal_above("growth", 1.0, GROWTH_MAX),
            cap: section.optional_number("cap", 1..=COUNT_MAX),
            hold_above: section.decimal("hold_above", HOLD_ABOVE, 0.0..=1.0),
        }
    }

    /// The ramp, written out.
    fn days(&self, section: &mut Section<'_, '_>) -> Option<Vec<u32>> {
        if let Some(preset) = self.preset {
            return Some(preset.caps());
        }
        if let Some(caps) = &self.caps {
            check_caps(section, caps);
            return Some(caps.clone());
        }
        let (first, growth, cap) = (self.first?, self.growth?, self.cap?);
        if cap < first {
            section.fault("cap", format_args!("must not be below first ({first})"));
            return None;
        }
        let days = grow(first, growth, cap);
        if days.is_none() {
            section.fault("growth", format_args!("takes more than {DAYS_MAX} days from first to cap"));
        }
        days
    }
}

impl JsonSchema for Warmup {
    fn schema_name() -> Cow<'static, str> {
        "Warmup".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RampKeys::json_schema(generator);
        let groups = json_schema!({
            "description": "`[esp.warmup.groups.NAME]`: ramps of single domain groups at this ESP, which hold as well.",
            "type": "object",
            "additionalProperties": generator.subschema_for::<RampKeys>(),
        });
        add_key(&mut schema, "groups", groups);
        schema
    }
}

/// A ramp is said in one way, and in all of it.
fn check_way(section: &mut Section<'_, '_>) {
    let mut earlier = None;
    for keys in WAYS {
        let (set, missing): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| section.has(key));
        let Some(&key) = set.first() else { continue };
        match earlier {
            Some(earlier) => section.fault(key, format_args!("`{earlier}` is set too; set one of the two")),
            None => earlier = Some(key),
        }
        for missing in missing {
            section.fault(missing, format_args!("is required with {key}"));
        }
    }
    if earlier.is_none() {
        section.fault_here("needs `preset`, or `caps`, or `first` with `growth` and `cap`");
    }
}

fn check_caps(section: &mut Section<'_, '_>, caps: &[u32]) {
    if caps.is_empty() || caps.len() > DAYS_MAX {
        section.fault("caps", format_args!("must have 1 to {DAYS_MAX} entries, one a day"));
        return;
    }
    for (at, (before, cap)) in caps.iter().zip(caps.iter().skip(1)).enumerate() {
        if cap < before {
            let key = format!("caps[{}]", at + 1);
            section.fault(&key, format_args!("must not be below the day before ({before})"));
        }
    }
}

/// `first * growth^n`, rounded up, until it reaches `cap`; nothing if that takes too long.
fn grow(first: u32, growth: f64, cap: u32) -> Option<Vec<u32>> {
    let mut days = Vec::new();
    let mut exact = f64::from(first);
    while days.len() < DAYS_MAX {
        // 100 * 1.1 is a little more than 110 in binary fractions, and is meant as 110.
        let day = (exact * (1.0 - ROUNDING)).ceil();
        if day >= f64::from(cap) {
            days.push(cap);
            return Some(days);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, above 0, below cap"
        )]
        days.push(day as u32);
        exact *= growth;
    }
    None
}

fn group_name(text: &str, known: &BTreeSet<GroupName>) -> Result<GroupName, String> {
    let name = GroupName::new(text).map_err(|error| error.to_string())?;
    if known.contains(&name) {
        Ok(name)
    } else {
        Err(format!("there is no domain group with the name `{name}`"))
    }
}

#[cfg(test)]
mod tests;
