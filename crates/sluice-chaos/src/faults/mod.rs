//! One file a fault. Each strikes once, lasts some seconds at most, and leaves things mended.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use sluice_testkit::services::TcpProxy;

use crate::site::Site;

mod broker_hangs;
mod broker_killed;
mod broker_memory_alarm;
mod commit_answers_lost;
mod consumers_cancelled;
mod esp_500;
mod esp_drips;
mod esp_gzip_bombs;
mod esp_half_answers;
mod esp_redirects;
mod esp_refuses_connections;
mod esp_resets_after;
mod esp_resets_before;
mod esp_stalls;
mod esp_wrong_json;
mod line_black_hole;
mod line_cut;
mod line_delayed;
mod line_narrow;
mod postgres_away;
mod postgres_backends_terminated;
mod postgres_deadlocks;
mod postgres_hangs;
mod postgres_killed;
mod postgres_slow;
mod postgres_stopped;
mod queue_deleted;
mod replica_drained;
mod replica_hangs_briefly;
mod replica_killed;
mod replica_paused;
mod replicas_killed_together;

/// What a fault breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Our own processes.
    Replica,
    /// RabbitMQ.
    Broker,
    /// Postgres.
    Database,
    /// The ESP.
    Esp,
    /// The lines between them.
    Network,
}

/// A way to break things.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// As in the table.
    pub name: &'static str,
    /// What it breaks.
    pub family: Family,
    pub(crate) strike: fn(&Site, &mut Rng),
}

/// All of them.
pub const ALL: &[Fault] = &[
    Fault { name: "replica_killed", family: Family::Replica, strike: replica_killed::strike },
    Fault {
        name: "replicas_killed_together",
        family: Family::Replica,
        strike: replicas_killed_together::strike,
    },
    Fault { name: "replica_paused", family: Family::Replica, strike: replica_paused::strike },
    Fault { name: "replica_hangs_briefly", family: Family::Replica, strike: replica_hangs_briefly::strike },
    Fault { name: "replica_drained", family: Family::Replica, strike: replica_drained::strike },
    Fault { name: "broker_killed", family: Family::Broker, strike: broker_killed::strike },
    Fault { name: "broker_hangs", family: Family::Broker, strike: broker_hangs::strike },
    Fault { name: "broker_memory_alarm", family: Family::Broker, strike: broker_memory_alarm::strike },
    Fault { name: "queue_deleted", family: Family::Broker, strike: queue_deleted::strike },
    Fault { name: "consumers_cancelled", family: Family::Broker, strike: consumers_cancelled::strike },
    Fault { name: "postgres_stopped", family: Family::Database, strike: postgres_stopped::strike },
    Fault { name: "postgres_killed", family: Family::Database, strike: postgres_killed::strike },
    Fault { name: "postgres_hangs", family: Family::Database, strike: postgres_hangs::strike },
    Fault {
        name: "postgres_backends_terminated",
        family: Family::Database,
        strike: postgres_backends_terminated::strike,
    },
    Fault { name: "postgres_slow", family: Family::Database, strike: postgres_slow::strike },
    Fault { name: "postgres_deadlocks", family: Family::Database, strike: postgres_deadlocks::strike },
    Fault { name: "commit_answers_lost", family: Family::Database, strike: commit_answers_lost::strike },
    Fault { name: "esp_500", family: Family::Esp, strike: esp_500::strike },
    Fault { name: "esp_resets_after", family: Family::Esp, strike: esp_resets_after::strike },
    Fault { name: "esp_half_answers", family: Family::Esp, strike: esp_half_answers::strike },
    Fault { name: "esp_stalls", family: Family::Esp, strike: esp_stalls::strike },
    Fault { name: "esp_redirects", family: Family::Esp, strike: esp_redirects::strike },
    Fault { name: "esp_gzip_bombs", family: Family::Esp, strike: esp_gzip_bombs::strike },
    Fault { name: "esp_wrong_json", family: Family::Esp, strike: esp_wrong_json::strike },
    Fault { name: "esp_drips", family: Family::Esp, strike: esp_drips::strike },
    Fault { name: "esp_resets_before", family: Family::Esp, strike: esp_resets_before::strike },
    Fault { name: "esp_refuses_connections", family: Family::Esp, strike: esp_refuses_connections::strike },
    Fault { name: "line_cut", family: Family::Network, strike: line_cut::strike },
    Fault { name: "line_delayed", family: Family::Network, strike: line_delayed::strike },
    Fault { name: "line_narrow", family: Family::Network, strike: line_narrow::strike },
    Fault { name: "line_black_hole", family: Family::Network, strike: line_black_hole::strike },
];

/// Faults of ten minutes, too long for the others' runs.
pub const LONG: &[Fault] =
    &[Fault { name: "postgres_away", family: Family::Database, strike: postgres_away::strike }];

/// The fault of that name.
#[must_use]
pub fn named(name: &str) -> Option<Fault> {
    ALL.iter().chain(LONG).find(|fault| fault.name == name).copied()
}

/// Lets some milliseconds out of `range` pass.
fn span(rng: &mut Rng, range: Range<u64>) {
    std::thread::sleep(Duration::from_millis(rng.u64(range)));
}

/// The line to the broker, the database or the ESP.
fn any_line<'a>(site: &'a Site, rng: &mut Rng) -> &'a TcpProxy {
    match rng.u32(0..3) {
        0 => &site.to_broker,
        1 => &site.to_database,
        _ => &site.to_esp,
    }
}
