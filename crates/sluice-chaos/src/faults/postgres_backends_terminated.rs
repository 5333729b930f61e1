//! Backends are terminated in the middle of what they do.

use fastrand::Rng;

use super::span;
use crate::site::Site;

const TERMINATE: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'sluice' and datname = current_database() and random() < 0.5";

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    for _ in 0..rng.u32(1..6) {
        site.sql(TERMINATE);
        span(rng, 50..500);
    }
}
