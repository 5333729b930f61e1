//! Lists of limits, read and checked against each other.

use std::time::Duration;

use sluice_types::{GroupName, Limit, LimitKind, LimitScope, LimitSpec};

use crate::duration::DurationText;
use crate::reader::Section;

/// Reads a list of limits of one scope.
pub(crate) fn read_limits(section: &mut Section<'_, '_>, key: &'static str) -> Vec<LimitSpec> {
    let mut taken: Vec<LimitSpec> = Vec::new();
    section.texts(key, |text| {
        let spec: LimitSpec = text.parse().map_err(|error| format!("{text:?} {error}"))?;
        if let Some(earlier) = taken.iter().find(|earlier| count_key(earlier) == count_key(&spec)) {
            return Err(format!("\"{spec}\" and \"{earlier}\" limit the same window; keep one of the two"));
        }
        for earlier in &taken {
            check_burst(&spec, earlier)?;
            check_burst(earlier, &spec)?;
        }
        taken.push(spec);
        Ok(spec)
    })
}

/// The key under which the store counts it; two limits of one scope must not share it.
fn count_key(spec: &LimitSpec) -> String {
    Limit { scope: LimitScope::Group(GroupName::other()), spec: *spec }.key()
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
