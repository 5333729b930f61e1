//! The domain group of a recipient: by its domain's name, else by who takes its mail.

use sluice_types::GroupName;

use crate::plan::Plan;
use crate::ports::{MxAnswer, MxSource};

/// The group whose limits hold for `domain`.
///
/// A domain that no group names is looked up, so that a hosted domain shares the limits of its provider. That waits
/// only in the caller's own task and never longer than the configured time; what is not known by then counts as `other`.
pub(crate) async fn group_of(plan: &Plan, mx: Option<&dyn MxSource>, domain: &str) -> GroupName {
    let Some(mx) = mx.filter(|_| plan.uses_mx() && !plan.names_domain(domain)) else {
        return plan.group_of(domain);
    };
    match mx.exchanges(domain).await {
        MxAnswer::Hosts(hosts) => hosts
            .iter()
            .find_map(|host| plan.group_of_exchange(host))
            .cloned()
            .unwrap_or_else(GroupName::other),
        MxAnswer::NotKnown => GroupName::other(),
    }
}
