//! The ESP answers with a body that unpacks to a thousand times its size.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::GzipBomb));
    span(rng, 500..3_000);
    site.esp.answer_all(None);
}
