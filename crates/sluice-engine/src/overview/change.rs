//! What an edit of a limit comes to, before it is made.

use serde::Serialize;
use sluice_policy::LimitEdit;
use sluice_types::{Limit, LimitKind, LimitScope, LimitSpec, Timestamp};

use super::limit_key::{LimitKey, Window};
use super::{Now, OverviewError};

/// What an edit has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitChange {
    /// The key of the limit.
    pub key: String,
    /// The limit that held before; `None`: the scope had none of this window, and has one more now.
    pub before: Option<String>,
    /// The limit that holds from now on; `None`: it was added at run time and is gone.
    pub after: Option<String>,
}

/// Checks an edit against what is configured.
pub(super) fn plan_change(
    now: &Now,
    key: &str,
    spec: Option<&str>,
    by: &str,
    at: Timestamp,
) -> Result<(LimitChange, Option<LimitEdit>), OverviewError> {
    let parsed = LimitKey::parse(key)?;
    match spec {
        Some(spec) => {
            let limit = limit_to_set(now, key, &parsed, spec)?;
            let (key, after) = (limit.key(), limit.spec.to_string());
            let edit = LimitEdit { spec: after.clone(), by: by.to_owned(), at: at.to_string() };
            let before = now.plan.limit_of_key(&key).filter(|it| !is_of_brake(now, it));
            let before = before.map(|it| it.spec.to_string());
            Ok((LimitChange { key, before, after: Some(after) }, Some(edit)))
        }
        None => {
            let key = key_to_reset(now, key, &parsed)?;
            let before = now.view.limit_edits.get(&key).map(|edit| edit.spec.clone());
            let after = now.configured.limit_of_key(&key).map(|it| it.spec.to_string());
            Ok((LimitChange { key, before, after }, None))
        }
    }
}

fn limit_to_set(now: &Now, key: &str, parsed: &LimitKey, spec: &str) -> Result<Limit, OverviewError> {
    if parsed.window == Some(Window::WarmUp) {
        return Err(OverviewError::WarmUp { key: key.to_owned() });
    }
    let scope = parsed.known_scope(&now.configured)?;
    let reason = |reason| OverviewError::Spec { spec: spec.to_owned(), reason };
    let limit = Limit { scope, spec: spec.parse::<LimitSpec>().map_err(reason)? };
    let window = Window::of(&limit.spec);
    if let Some(of_key) = parsed.window.as_ref().filter(|of_key| **of_key != window) {
        return Err(OverviewError::WindowDiffers {
            key: key.to_owned(),
            of_key: of_key.to_string(),
            spec: limit.spec.to_string(),
            of_spec: window.to_string(),
        });
    }
    let has_connections = matches!(limit.scope, LimitScope::Esp(_) | LimitScope::EspGroup(..));
    if limit.spec.kind == LimitKind::Connections && !has_connections {
        let (scope, spec) = (limit.scope.to_string(), limit.spec.to_string());
        return Err(OverviewError::NoConnections { scope, spec });
    }
    Ok(limit)
}

/// The key whose edit shall go. Its scope need not be configured any more.
fn key_to_reset(now: &Now, key: &str, parsed: &LimitKey) -> Result<String, OverviewError> {
    let scope = parsed.scope.to_string();
    let edits = now.view.limit_edits.keys();
    if let Some(window) = &parsed.window {
        if *window == Window::WarmUp {
            return Err(OverviewError::WarmUp { key: key.to_owned() });
        }
        let wanted = format!("{scope}/{}", window.as_key());
        return edits
            .into_iter()
            .find(|it| **it == wanted)
            .cloned()
            .ok_or_else(|| OverviewError::NotSet { key: key.to_owned() });
    }
    let mut keys: Vec<String> =
        edits.filter(|it| Limit::scope_of_key(it).as_ref() == Some(&parsed.scope)).cloned().collect();
    match (keys.pop(), keys.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            keys.push(last);
            Err(OverviewError::Ambiguous { scope, keys })
        }
        (None, _) => Err(OverviewError::NotSet { key: key.to_owned() }),
    }
}

/// Whether the limit is there only while a brake is on.
pub(super) fn is_of_brake(now: &Now, limit: &Limit) -> bool {
    let key = limit.key();
    now.plan.orders().brakes.contains_key(&limit.scope)
        && !now.plan.orders().edits.contains_key(&key)
        && now.configured.limit_of_key(&key).is_none()
        && crate::plan::is_rate(&limit.spec)
}
