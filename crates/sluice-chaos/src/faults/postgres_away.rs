//! Postgres is away for ten minutes, while producers go on.

use std::time::Duration;

use fastrand::Rng;

use crate::site::Site;

const AWAY: Duration = Duration::from_secs(600);

pub(super) fn strike(site: &Site, _rng: &mut Rng) {
    site.servers.database.stop_immediate();
    std::thread::sleep(AWAY);
    site.servers.database.restart();
}
