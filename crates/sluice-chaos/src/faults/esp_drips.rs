//! The ESP answers a few bytes at a time, sometimes for longer than the client waits.

use std::time::Duration;

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::Drip(Duration::from_millis(rng.u64(10..400)))));
    span(rng, 1_000..4_000);
    site.esp.answer_all(None);
}
