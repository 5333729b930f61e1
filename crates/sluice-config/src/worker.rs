//! `[worker]`: how jobs are held, claimed and given back.

use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

/// No delivery is held unacked for longer than this, whatever is configured.
pub(crate) const LANE_HOLD_MAX_HIGH: Duration = Duration::from_secs(60);

const HOLD_MAX: Duration = Duration::from_secs(5);
const LANE_HOLD_MAX: Duration = Duration::from_secs(45);
const CLAIM_TTL_LOW: Duration = Duration::from_secs(1);
const CLAIM_TTL_HIGH: Duration = Duration::from_secs(3600);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT_HIGH: Duration = Duration::from_secs(600);
const MAX_IN_FLIGHT: u32 = 4096;
const MAX_IN_FLIGHT_HIGH: u32 = 65_536;
const PREFETCH_MAX: u16 = 3000;
const PREFETCH_MAX_HIGH: u16 = 4000;
const RESERVED_SHARE: f64 = 0.2;
const RESERVED_SHARE_HIGH: f64 = 0.9;
const UNHEALTHY_RELEASE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// `[worker]`: how jobs are held, claimed and given back.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Worker {
    /// Longest wait in memory for a slot of a limit that governs some of a lane's jobs; what would wait longer is parked.
    /// 0ms to `lane_hold_max`, default 5s. More: fewer writes to the store, and other jobs of the lane wait behind. Less:
    /// more jobs are parked and published again.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub hold_max: Duration,
    /// Longest wait in memory for a slot of a limit that governs the whole lane. 1s to 60s, default 45s. More: closer to
    /// the broker's own patience with unacknowledged deliveries. Less: slow lanes park jobs they could have held.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub lane_hold_max: Duration,
    /// How long a claimed job belongs to its worker; after that another one takes it over and the send counts as unknown.
    /// Longer than every ESP's `timeout`, at most 1h. Default: the longest ESP timeout, plus `lane_hold_max`, plus 30s.
    /// More: the jobs of a killed worker wait longer. Less: a slow worker may lose a job it is still sending.
    #[schemars(with = "Option<DurationText>")]
    #[serde(serialize_with = "duration::serialize_optional")]
    pub claim_ttl: Option<Duration>,
    /// How long a stopping worker finishes what it has begun, 0ms to 10min, default 30s; keep it below the grace period of
    /// whatever stops it. More: a slower rollout. Less: more jobs are given back and come again.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub drain_timeout: Duration,
    /// Jobs in one process between delivery and ack, over all lanes, 1 to 65536, default 4096. More: more memory, up to
    /// 256 KiB a job. Less: slow ESPs hold up quick ones sooner.
    pub max_in_flight: u32,
    /// Most unacknowledged deliveries of one lane, 1 to 4000, default 3000; a lane takes about two seconds' worth of its
    /// allowed rate up to this, or of what its ESPs' connections and places let through. 500 of them at most are on the way
    /// to their calls at a time: the others are in their calls, are done and wait to be acked together, or not begun. More:
    /// throughput where the broker is far away or ESPs take long to answer, and more memory, and redeliveries when a worker
    /// dies. Less: more acks of one job alone, and the lane runs dry between them.
    pub prefetch_max: u16,
    /// Share of limits that are counted by the hour or day, and of the places in work, that transactional jobs keep for
    /// themselves, 0.0 to 0.9, default 0.2, and of connections and of an ESP's places while such jobs come (at least one of
    /// two); under other limits they go first. More: bulk never fills the whole of a limit, and a burst of transactional jobs finds more room. Less: after a
    /// burst they wait behind bulk; 0.0 keeps nothing for them.
    pub reserved_share: f64,
    /// How long the store may be away before a worker gives its held deliveries back to the broker, 1s to 60s, default
    /// 20s. More: fewer redeliveries after short outages. Less: each outage uses up a delivery of `queue.delivery_limit`.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub unhealthy_release: Duration,
}

impl Worker {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let worker = Self {
            hold_max: section.duration("hold_max", HOLD_MAX, Duration::ZERO..=LANE_HOLD_MAX_HIGH),
            lane_hold_max: section.duration("lane_hold_max", LANE_HOLD_MAX, SECOND..=LANE_HOLD_MAX_HIGH),
            claim_ttl: section.optional_duration("claim_ttl", CLAIM_TTL_LOW..=CLAIM_TTL_HIGH),
            drain_timeout: section.duration(
                "drain_timeout",
                DRAIN_TIMEOUT,
                Duration::ZERO..=DRAIN_TIMEOUT_HIGH,
            ),
            max_in_flight: section.number("max_in_flight", MAX_IN_FLIGHT, 1..=MAX_IN_FLIGHT_HIGH),
            prefetch_max: section.number("prefetch_max", PREFETCH_MAX, 1..=PREFETCH_MAX_HIGH),
            reserved_share: section.decimal("reserved_share", RESERVED_SHARE, 0.0..=RESERVED_SHARE_HIGH),
            unhealthy_release: section.duration(
                "unhealthy_release",
                UNHEALTHY_RELEASE,
                SECOND..=LANE_HOLD_MAX_HIGH,
            ),
        };
        if worker.hold_max > worker.lane_hold_max {
            let lane_hold_max = DurationText(worker.lane_hold_max);
            section
                .fault("hold_max", format_args!("must not be longer than lane_hold_max ({lane_hold_max})"));
        }
        worker
    }
}

impl Default for Worker {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
