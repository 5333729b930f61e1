//! A limit as people name it: the scope, and behind it the window, which may be left out.

use sluice_types::{Limit, LimitKind, LimitScope, LimitSpec, normalise_domain};

use super::OverviewError;
use super::error::{unknown_esp, unknown_group};
use crate::plan::Plan;

/// A text, read.
#[derive(Debug)]
pub(super) struct LimitKey {
    pub(super) scope: LimitScope,
    /// `None`: the scope alone.
    pub(super) window: Option<Window>,
}

/// What a limit counts over, as the last part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Messages, such as `per:day:calendar`.
    Per(String),
    Connections,
    WarmUp,
}

impl LimitKey {
    pub(super) fn parse(text: &str) -> Result<Self, OverviewError> {
        // A scope may hold a slash itself, so it is looked for first.
        if let Ok(scope) = text.parse::<LimitScope>() {
            return Ok(Self { scope: normal(scope)?, window: None });
        }
        let bad = |reason| OverviewError::Key { key: text.to_owned(), reason };
        let (scope, window) = text.rsplit_once('/').ok_or_else(|| bad(sluice_types::LimitScopeError))?;
        let scope = scope.parse::<LimitScope>().map_err(bad)?;
        let window = Window::parse(window)
            .ok_or_else(|| OverviewError::Window { key: text.to_owned(), window: window.to_owned() })?;
        Ok(Self { scope: normal(scope)?, window: Some(window) })
    }

    /// The scope, if it names what is configured.
    pub(super) fn known_scope(&self, plan: &Plan) -> Result<LimitScope, OverviewError> {
        if plan.knows_scope(&self.scope) {
            return Ok(self.scope.clone());
        }
        let esp_is_known = |esp| plan.knows_scope(&LimitScope::Esp(esp));
        Err(match &self.scope {
            LimitScope::Esp(esp) => unknown_esp(plan, esp.as_str()),
            LimitScope::EspGroup(esp, _) if !esp_is_known(esp.clone()) => unknown_esp(plan, esp.as_str()),
            LimitScope::EspGroup(_, group) | LimitScope::Group(group) => unknown_group(plan, group),
            LimitScope::Domain(domain) => OverviewError::DomainOfGroup {
                domain: domain.to_string(),
                group: plan.group_of(domain).to_string(),
            },
            // Any name may be a tenant's.
            LimitScope::Tenant(_) => return Ok(self.scope.clone()),
        })
    }
}

/// A domain is compared in the form that addresses have.
fn normal(scope: LimitScope) -> Result<LimitScope, OverviewError> {
    let LimitScope::Domain(domain) = &scope else { return Ok(scope) };
    match normalise_domain(domain) {
        Ok(domain) => Ok(LimitScope::Domain(domain.into())),
        Err(_) => Err(OverviewError::Domain { domain: domain.to_string() }),
    }
}

impl Window {
    /// What a limit counts over.
    pub(super) fn of(spec: &LimitSpec) -> Self {
        match spec.kind {
            LimitKind::Connections => Self::Connections,
            LimitKind::Ramp => Self::WarmUp,
            LimitKind::Spaced { .. }
            | LimitKind::Bucket { .. }
            | LimitKind::Counted { .. }
            | LimitKind::Calendar { .. } => {
                let limit = Limit { scope: LimitScope::Group(sluice_types::GroupName::other()), spec: *spec };
                let key = limit.key();
                Self::Per(key.rsplit('/').next().unwrap_or_default().to_owned())
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "connections" => Some(Self::Connections),
            "warm-up" => Some(Self::WarmUp),
            _ => {
                // Read as a limit, so that `per:60s` is the same as `per:min`.
                let window = text.strip_prefix("per:")?.replace(':', " ");
                let spec = format!("1/{window}").parse::<LimitSpec>().ok()?;
                Some(Self::of(&spec))
            }
        }
    }

    /// As in a key.
    pub(super) fn as_key(&self) -> &str {
        match self {
            Self::Per(window) => window,
            Self::Connections => "connections",
            Self::WarmUp => "warm-up",
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.as_key().replace(':', " "))
    }
}
