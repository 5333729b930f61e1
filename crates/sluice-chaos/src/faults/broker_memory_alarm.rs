//! RabbitMQ's memory alarm blocks everybody who publishes, the relay too.

use fastrand::Rng;

use super::span;
use crate::site::Site;

/// What RabbitMQ starts with (its documentation, "Memory Alarms").
const STOCK: &str = "0.4";

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let set = |mark: &str| site.servers.broker.rabbitmqctl(&["set_vm_memory_high_watermark", mark]);
    set("0.000001");
    span(rng, 1_000..5_000);
    set(STOCK);
}
