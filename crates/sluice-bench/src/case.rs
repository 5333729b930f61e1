//! What is measured.

mod growth;

use std::time::Duration;

use crate::reference::Kind as Reference;
use crate::site::{Http, Limits};

const NO_LATENCY: Duration = Duration::ZERO;
const LATENCY: Duration = Duration::from_millis(20);

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// It belongs to the table of growth, which has to be asked for.
    pub(crate) is_growth: bool,
}

impl Case {
    /// Whether a quick run has it: what is measured in a way of its own, once. Of the growth, one of each kind; not what
    /// differs from another case by numbers alone.
    pub(crate) fn is_smoke(&self) -> bool {
        const OF_GROWTH: [&str; 4] =
            ["growth-table-1000000", "growth-backlog-20000", "growth-backlog-300000", "growth-idle"];
        const REPEATED: [&str; 13] = [
            "ideal-20ms",
            "ideal-claim-20ms",
            "ideal-work-20ms",
            "ideal-claim-4",
            "python-20ms",
            "latency-20ms",
            "limits-idle-20ms-http1",
            "replicas-4",
            "domains-10000",
            "paced-alone",
            "paced-group",
            "paced-dead-esp",
            "enqueue-1000000",
        ];
        if self.is_growth { OF_GROWTH.contains(&self.name) } else { !REPEATED.contains(&self.name) }
    }
}

/// How it is measured.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A bare program, and how many of them work the same lane.
    Reference(Reference, Duration, usize),
    /// The plain Python worker.
    Python(Duration),
    /// The worker on a backlog.
    Worker(Shape),
    /// Transactional jobs while a bulk backlog is worked.
    Backlog,
    /// From `pending` over the relay to the ESP.
    FanOut,
    /// From `pending` over the relay into the lanes, and no further.
    FanOutLanes,
    /// Signed events of an ESP, over HTTP.
    Webhooks,
    /// A CSV file of so many lines, by `sluice enqueue`.
    Enqueue(usize),
    /// One process on one SQLite file.
    Embedded,
    /// Half of the jobs cannot go; the others as fast as they can, or as fast as their ESP takes them.
    Isolation(Stuck, Limits),
    /// Transactional jobs behind a long backlog of their own group's limit.
    Priority,
    /// Replicas that are restarted one after the other while they work a backlog.
    Rolling,
    /// The worker on the first part of a backlog of so many jobs.
    Depth(usize),
    /// A replica with nothing to do.
    Idle,
}

/// What varies between the runs on a backlog.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) latency: Duration,
    pub(crate) replicas: usize,
    pub(crate) limits: Limits,
    pub(crate) http: Http,
    pub(crate) domains: Domains,
    pub(crate) esps: usize,
    pub(crate) age: Age,
}

/// Whom the jobs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domains {
    /// The one domain of a configured group.
    Grouped,
    /// So many domains of the group `other`, in turn.
    Other(usize),
}

/// What the store holds of the days before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) jobs: usize,
    /// Evenly over the days.
    pub(crate) attempts: usize,
    /// Daily partitions of `attempt`, up to yesterday.
    pub(crate) days: u32,
}

impl Age {
    const NONE: Self = Self { jobs: 0, attempts: 0, days: 0 };

    /// So many times fewer rows.
    pub(crate) fn shrunk(self, times: usize) -> Self {
        Self { jobs: self.jobs / times, attempts: self.attempts / times, ..self }
    }
}

/// Where the half that cannot go goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// There is no such half.
    Nowhere,
    /// A configured group that is limited to 1/s.
    Group,
    /// A pool whose only ESP refuses connections.
    DeadEsp,
    /// A pool whose only ESP takes connections and answers nothing.
    HungEsp,
    /// A domain of the other half's group that is limited to 1/s, so that it has a side lane.
    Domain,
    /// The same, but its jobs are in the lane of the other half before it is limited.
    LateDomain,
}

const BASE: Shape = Shape {
    latency: NO_LATENCY,
    replicas: 1,
    limits: Limits::Off,
    http: Http::Http2,
    domains: Domains::Grouped,
    esps: 1,
    age: Age::NONE,
};

/// All of them: those of the table, then those of the table of growth.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = usual();
    cases.extend(growth::growth());
    cases
}

fn usual() -> Vec<Case> {
    let case = |name, about, kind| Case { name, about, kind, is_growth: false };
    vec![
        case("drain", "reference: consume and ack", Kind::Reference(Reference::Drain, NO_LATENCY, 1)),
        case(
            "ideal",
            "reference: consume, call, batched insert, ack",
            Kind::Reference(Reference::Ideal, NO_LATENCY, 1),
        ),
        case(
            "ideal-claim",
            "reference: the same with a batched claim before the call",
            Kind::Reference(Reference::IdealClaim, NO_LATENCY, 1),
        ),
        case(
            "ideal-claim-http2",
            "reference: the same over HTTP/2",
            Kind::Reference(Reference::IdealClaimHttp2, NO_LATENCY, 1),
        ),
        case(
            "ideal-work",
            "reference: ideal-claim that parses, renders and sends each job with the worker's own code",
            Kind::Reference(Reference::IdealWork, NO_LATENCY, 1),
        ),
        case("ideal-20ms", "ideal, ESP takes 20 ms", Kind::Reference(Reference::Ideal, LATENCY, 1)),
        case(
            "ideal-claim-20ms",
            "ideal with claim, ESP takes 20 ms",
            Kind::Reference(Reference::IdealClaim, LATENCY, 1),
        ),
        case(
            "ideal-work-20ms",
            "ideal-work, ESP takes 20 ms",
            Kind::Reference(Reference::IdealWork, LATENCY, 1),
        ),
        case(
            "ideal-claim-4",
            "reference: ideal with claim, four of them on the same lane",
            Kind::Reference(Reference::IdealClaim, NO_LATENCY, 4),
        ),
        case("python", "reference: plain Python, an insert a job", Kind::Python(NO_LATENCY)),
        case("python-20ms", "plain Python, ESP takes 20 ms", Kind::Python(LATENCY)),
        case("base", "1 replica, no limits, 1 domain, 1 ESP that answers at once", Kind::Worker(BASE)),
        case(
            "limits-idle",
            "limits that are never reached",
            Kind::Worker(Shape { limits: Limits::Idle, ..BASE }),
        ),
        case(
            "limits-idle-http1",
            "the same over HTTP/1.1",
            Kind::Worker(Shape { limits: Limits::Idle, http: Http::Http1, ..BASE }),
        ),
        case("limits-reached", "a limit of 2,000/s", Kind::Worker(Shape { limits: Limits::Reached, ..BASE })),
        case("latency-20ms", "ESP takes 20 ms", Kind::Worker(Shape { latency: LATENCY, ..BASE })),
        case(
            "limits-idle-20ms",
            "ESP takes 20 ms, limits that are never reached",
            Kind::Worker(Shape { latency: LATENCY, limits: Limits::Idle, ..BASE }),
        ),
        case(
            "limits-idle-20ms-http1",
            "the same over HTTP/1.1",
            Kind::Worker(Shape { latency: LATENCY, limits: Limits::Idle, http: Http::Http1, ..BASE }),
        ),
        case("replicas-4", "4 replicas", Kind::Worker(Shape { replicas: 4, ..BASE })),
        case(
            "replicas-4-limits-idle",
            "4 replicas, limits that are never reached",
            Kind::Worker(Shape { replicas: 4, limits: Limits::Idle, ..BASE }),
        ),
        case(
            "replicas-4-limits-reached",
            "4 replicas, a limit of 2,000/s over all of them",
            Kind::Worker(Shape { replicas: 4, limits: Limits::Reached, ..BASE }),
        ),
        case(
            "replicas-4-rolling",
            "4 replicas, limits that are never reached, one of which at a time is told to end and replaced",
            Kind::Rolling,
        ),
        case(
            "domains-10000",
            "10,000 domains in one lane",
            Kind::Worker(Shape { domains: Domains::Other(10_000), ..BASE }),
        ),
        case(
            "domains-10000-limits-idle",
            "10,000 domains, each with a limit that is never reached",
            Kind::Worker(Shape { domains: Domains::Other(10_000), limits: Limits::Idle, ..BASE }),
        ),
        case("esps-8", "8 ESPs by weight", Kind::Worker(Shape { esps: 8, ..BASE })),
        case("backlog", "waits of transactional jobs while a bulk backlog is worked", Kind::Backlog),
        case("fan-out", "all jobs due in pending, from there over the relay", Kind::FanOut),
        case(
            "fan-out-lanes",
            "the same into the lanes alone: rows out of pending a second",
            Kind::FanOutLanes,
        ),
        case("webhooks", "signed events of SendGrid over HTTP: events a second", Kind::Webhooks),
        case(
            "enqueue-10000",
            "sluice enqueue, a CSV file of 10,000 lines: lines a second",
            Kind::Enqueue(10_000),
        ),
        case("enqueue-1000000", "the same with 1,000,000 lines", Kind::Enqueue(1_000_000)),
        case("embedded", "the embedded default: one process on one SQLite file", Kind::Embedded),
        case(
            "isolation-alone",
            "one half alone, for the next five",
            Kind::Isolation(Stuck::Nowhere, Limits::Idle),
        ),
        case(
            "isolation-group",
            "the other half: a group limited to 1/s",
            Kind::Isolation(Stuck::Group, Limits::Idle),
        ),
        case(
            "isolation-dead-esp",
            "the other half: a pool whose ESP is dead",
            Kind::Isolation(Stuck::DeadEsp, Limits::Idle),
        ),
        case(
            "isolation-hung-esp",
            "the other half: a pool whose ESP answers nothing",
            Kind::Isolation(Stuck::HungEsp, Limits::Idle),
        ),
        case(
            "isolation-domain",
            "the other half: a domain of the same group `other` limited to 1/s",
            Kind::Isolation(Stuck::Domain, Limits::Idle),
        ),
        case(
            "isolation-late",
            "the same, limited only when its jobs are in the lane of the other half",
            Kind::Isolation(Stuck::LateDomain, Limits::Idle),
        ),
        case(
            "paced-alone",
            "one half alone, at an ESP that takes 2,000/s, for the next three",
            Kind::Isolation(Stuck::Nowhere, Limits::Reached),
        ),
        case(
            "paced-group",
            "the other half: a group limited to 1/s; the ESP takes 2,000/s",
            Kind::Isolation(Stuck::Group, Limits::Reached),
        ),
        case(
            "paced-dead-esp",
            "the other half: a pool whose ESP is dead; the other ESP takes 2,000/s",
            Kind::Isolation(Stuck::DeadEsp, Limits::Reached),
        ),
        case(
            "paced-domain",
            "the other half: a domain of the same group limited to 1/s; the ESP takes 2,000/s",
            Kind::Isolation(Stuck::Domain, Limits::Reached),
        ),
        case(
            "priority",
            "100 transactional jobs behind a bulk backlog of a group limited to 50/s",
            Kind::Priority,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_smoke_cases_are_there() {
        let (left_out, quick): (Vec<_>, Vec<_>) = all().into_iter().partition(|case| !case.is_smoke());
        assert_eq!(left_out.iter().filter(|case| !case.is_growth).count(), 13);
        assert_eq!(quick.iter().filter(|case| case.is_growth).count(), 4);
        let mut names: Vec<&str> = all().iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
