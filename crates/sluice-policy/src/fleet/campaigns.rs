//! Campaigns that an operator has paused or cancelled.

use serde::{Deserialize, Serialize};

/// More orders are not kept: the oldest cancellation goes first.
const ORDERS_MAX: usize = 10_000;

/// What shall be of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing of it is sent until it is resumed.
    Paused,
    /// What is left of it is closed unsent.
    Cancelled,
}

/// An order that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignOrder {
    /// Whose campaign.
    pub tenant: String,
    /// Its name.
    pub campaign: String,
    /// What shall be.
    pub order: Order,
}

pub(super) fn order(orders: &mut Vec<CampaignOrder>, tenant: String, campaign: String, order: Option<Order>) {
    orders.retain(|it| (&it.tenant, &it.campaign) != (&tenant, &campaign));
    if let Some(order) = order {
        if orders.len() >= ORDERS_MAX {
            let oldest = orders.iter().position(|it| it.order == Order::Cancelled).unwrap_or(0);
            orders.remove(oldest);
        }
        orders.push(CampaignOrder { tenant, campaign, order });
    }
}
