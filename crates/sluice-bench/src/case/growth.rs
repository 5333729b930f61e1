//! How the cost of a job grows: with the age of the tables, the backlog, the replicas and the keys of limits.

use super::{Age, BASE, Case, Domains, Kind, Shape};
use crate::site::Limits;

/// Days of `attempt` that an old store holds.
const DAYS: u32 = 90;

/// All of them, in the order of the table. What stands before the last hyphen of a name tells which belong together; the
/// first of each is what the others are compared with.
pub(super) fn growth() -> Vec<Case> {
    let idle = Shape { limits: Limits::Idle, ..BASE };
    let table = |name, about, jobs, attempts| {
        let days = if attempts == 0 { 0 } else { DAYS };
        case(name, about, Kind::Worker(Shape { age: Age { jobs, attempts, days }, ..idle.clone() }))
    };
    let replicas =
        |name, about, replicas| case(name, about, Kind::Worker(Shape { replicas, ..idle.clone() }));
    let keys = |name, about, count| {
        case(name, about, Kind::Worker(Shape { domains: Domains::Other(count), ..idle.clone() }))
    };
    vec![
        table("growth-table-0", "limits-idle with empty tables, for the next three", 0, 0),
        table(
            "growth-table-days",
            "no old jobs, 1,000,000 attempts of 90 days in as many partitions",
            0,
            1_000_000,
        ),
        table(
            "growth-table-1000000",
            "1,000,000 jobs of the last 90 days, and as many attempts",
            1_000_000,
            1_000_000,
        ),
        table(
            "growth-table-10000000",
            "10,000,000 jobs of the last 90 days, and as many attempts",
            10_000_000,
            10_000_000,
        ),
        case("growth-backlog-20000", "a backlog of 20,000 jobs, for the next two", Kind::Depth(20_000)),
        case("growth-backlog-300000", "a backlog of 300,000 jobs", Kind::Depth(300_000)),
        case("growth-backlog-1000000", "a backlog of 1,000,000 jobs", Kind::Depth(1_000_000)),
        replicas("growth-replicas-1", "limits-idle with 1 replica, for the next four", 1),
        replicas("growth-replicas-2", "2 replicas", 2),
        replicas("growth-replicas-4", "4 replicas", 4),
        replicas("growth-replicas-8", "8 replicas", 8),
        replicas("growth-replicas-16", "16 replicas", 16),
        keys("growth-keys-1", "1 domain with a limit of its own, for the next two", 1),
        keys("growth-keys-100", "100 domains, each with a limit of its own", 100),
        keys("growth-keys-10000", "10,000 domains, each with a limit of its own", 10_000),
        case("growth-idle", "a replica that has nothing to do", Kind::Idle),
    ]
}

fn case(name: &'static str, about: &'static str, kind: Kind) -> Case {
    Case { name, about, kind, is_growth: true }
}
