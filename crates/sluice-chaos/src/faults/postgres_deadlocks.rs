//! Another client locks the rows of jobs and limits in the opposite order: deadlocks.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::site::Site;

/// One row after the other, last key first, with a pause between: whoever goes the other way meets us in the middle.
const JOBS: &str = "do $$ declare r record; begin
    for r in select id from sluice.job where updated_at > now() - interval '3 s' order by id desc limit 40 loop
        perform 1 from sluice.job where id = r.id for update;
        perform pg_sleep(0.02);
    end loop; end $$";
const LIMITS: &str = "do $$ declare r record; begin
    for r in select key from sluice.limit_gcra order by key desc loop
        perform 1 from sluice.limit_gcra where key = r.key for update;
        perform pg_sleep(0.3);
    end loop; end $$";

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let until = Instant::now() + Duration::from_millis(rng.u64(2_000..5_000));
    while Instant::now() < until {
        // Whether the server ends their statement or ours does not matter.
        site.sql(if rng.bool() { JOBS } else { LIMITS });
    }
}
