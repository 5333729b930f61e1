//! Lists of limits, read and checked against each other.

mod reach;

use std::time::Duration;

use sluice_types::{GroupName, Limit, LimitKind, LimitScope, LimitSpec};

use self::reach::is_always_stricter;
use crate::duration::DurationText;
use crate::reader::Section;

/// Reads the limits of something that has no connections.
pub(crate) fn read_limits(section: &mut Section<'_, '_>, key: &'static str) -> Vec<LimitSpec> {
    read(section, key, |spec| match spec.kind {
        LimitKind::Connections => Err(format!(
            "\"{spec}\" limits connections, which only an ESP has; write it in the limits of an [[esp]] or in limits_per_esp"
        )),
        LimitKind::Spaced { .. }
        | LimitKind::Bucket { .. }
        | LimitKind::Counted { .. }
        | LimitKind::Calendar { .. }
        | LimitKind::Ramp => Ok(()),
    })
}

/// Reads the limits of something at an ESP.
pub(crate) fn read_esp_limits(section: &mut Section<'_, '_>, key: &'static str) -> Vec<LimitSpec> {
    read(section, key, |_| Ok(()))
}

/// Reads a list of limits of one scope.
fn read(
    section: &mut Section<'_, '_>,
    key: &'static str,
    check: impl Fn(&LimitSpec) -> Result<(), String>,
) -> Vec<LimitSpec> {
    let faults_before = section.fault_count();
    let mut taken: Vec<LimitSpec> = Vec::new();
    let limits = section.texts(key, |text| {
        let spec: LimitSpec = text.parse().map_err(|error| format!("{text:?} {error}"))?;
        check(&spec)?;
        for earlier in &taken {
            check_contradiction(&spec, earlier)?;
            check_burst(&spec, earlier)?;
            check_burst(earlier, &spec)?;
        }
        taken.push(spec);
        Ok::<_, String>(spec)
    });
    // With a fault among them they would be numbered wrongly.
    if section.fault_count() == faults_before {
        warn_of_unreachable(section, key, &limits);
    }
    limits
}

/// Two limits of one scope must not be counted under one key.
fn check_contradiction(spec: &LimitSpec, earlier: &LimitSpec) -> Result<(), String> {
    if spec == earlier {
        return Err(format!("\"{spec}\" is in this list twice"));
    }
    let counted = what_it_counts(spec);
    if counted == what_it_counts(earlier) {
        return Err(format!("\"{spec}\" contradicts \"{earlier}\": both count {counted}"));
    }
    Ok(())
}

/// The kind of the key under which the store counts it, in words: `per 10s rolling`.
fn what_it_counts(spec: &LimitSpec) -> String {
    let key = Limit { scope: LimitScope::Group(GroupName::other()), spec: *spec }.key();
    key.rsplit('/').next().unwrap_or_default().replace(':', " ")
}

/// A burst that a longer window would never let through is a mistake in one of the two numbers.
fn check_burst(bucket: &LimitSpec, longer: &LimitSpec) -> Result<(), String> {
    let (LimitKind::Bucket { window, burst }, Some(span)) = (bucket.kind, longer.window()) else {
        return Ok(());
    };
    // The longer window of a bucket holds its own burst on top of its count.
    let allowed = match longer.kind {
        LimitKind::Bucket { burst, .. } => burst.get(),
        LimitKind::Spaced { .. }
        | LimitKind::Counted { .. }
        | LimitKind::Calendar { .. }
        | LimitKind::Ramp
        | LimitKind::Connections => longer.count.get(),
    };
    if span > window && burst.get() > allowed {
        let span: Duration = span;
        let span = DurationText(span);
        return Err(format!(
            "the burst of \"{bucket}\" can never be used: \"{longer}\" allows {allowed} in {span}"
        ));
    }
    Ok(())
}

/// A limit behind one that is always stricter does nothing. Of two that are the same only the later one is named.
fn warn_of_unreachable(section: &mut Section<'_, '_>, key: &str, limits: &[LimitSpec]) {
    for (at, spec) in limits.iter().enumerate() {
        let stricter = limits.iter().enumerate().find(|(other, stricter)| {
            at != *other
                && is_always_stricter(stricter, spec)
                && (other < &at || !is_always_stricter(spec, stricter))
        });
        if let Some((_, stricter)) = stricter {
            section.warn(
                &format!("{key}[{at}]"),
                format!("\"{spec}\" can never be reached: \"{stricter}\" is always stricter"),
            );
        }
    }
}
