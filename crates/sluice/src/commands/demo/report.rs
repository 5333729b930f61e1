//! The facts at the end: one JSON object, or tables for people.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sluice_engine::BreakerView;

use super::config::ESPS;
use super::counters::Counters;
use super::scenario::Group;
use super::tally::Tally;
use crate::output::{Table, line};

/// What the demo has shown.
///
/// `jobs` counts messages, copies and malformed ones included; `accepted`, `rejected`, `suppressed`, `expired`,
/// `unknown`, `deferred`, `duplicates`, `dead` and `lost` add up to it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    jobs: u64,
    accepted: u64,
    rejected: u64,
    suppressed: u64,
    expired: u64,
    unknown: u64,
    deferred: u64,
    duplicates: u64,
    dead: u64,
    lost: u64,
    unflagged_duplicates: u64,
    contradictions: u64,
    /// From the first message enqueued to the last one settled.
    seconds: f64,
    jobs_per_second: f64,
    failovers: u64,
    breaker_opened: u64,
    breaker_closed: u64,
    interrupted: bool,
    seed: u64,
    per_esp: BTreeMap<&'static str, EspReport>,
    per_group: BTreeMap<&'static str, GroupReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspects: Vec<String>,
}

/// One ESP.
#[derive(Clone, Debug, Serialize)]
struct EspReport {
    calls: u64,
    accepted: u64,
    deferred: u64,
    rejected: u64,
    faulted: u64,
    unknown: u64,
    breaker: &'static str,
    breaker_opened: u64,
    breaker_closed: u64,
}

/// One domain group: jobs accepted, and how long they waited from the enqueuing to the ESP.
#[derive(Clone, Debug, Serialize)]
struct GroupReport {
    accepted: u64,
    wait_p50_ms: f64,
    wait_p99_ms: f64,
}

/// What a report is made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) tally: &'a Tally,
    pub(super) counters: &'a Counters,
    pub(super) breakers: &'a [BreakerView],
    pub(super) took: Duration,
    pub(super) interrupted: bool,
    pub(super) seed: u64,
}

impl Report {
    /// Puts the facts together.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let Facts { tally, counters, .. } = facts;
        let seconds = facts.took.as_secs_f64();
        let per_esp: BTreeMap<_, _> = ESPS.map(|esp| (esp, EspReport::of(esp, facts))).into();
        let per_group = Group::ALL.map(|group| {
            let tally = tally.groups.get(&group).cloned().unwrap_or_default();
            let report = GroupReport {
                accepted: tally.accepted,
                wait_p50_ms: rounded(tally.wait_ms(50)),
                wait_p99_ms: rounded(tally.wait_ms(99)),
            };
            (group.name(), report)
        });
        Self {
            jobs: tally.jobs,
            accepted: tally.accepted,
            rejected: tally.rejected,
            suppressed: tally.suppressed,
            expired: tally.expired,
            unknown: tally.unknown,
            deferred: tally.deferred,
            duplicates: tally.duplicates,
            dead: tally.dead,
            lost: tally.lost,
            unflagged_duplicates: tally.unflagged_duplicates,
            contradictions: tally.contradictions,
            seconds: rounded(seconds),
            jobs_per_second: rounded(u32::try_from(tally.jobs).map_or(0.0, f64::from) / seconds.max(0.001)),
            failovers: counters.failovers(),
            breaker_opened: per_esp.values().map(|esp| esp.breaker_opened).sum(),
            breaker_closed: per_esp.values().map(|esp| esp.breaker_closed).sum(),
            interrupted: facts.interrupted,
            seed: facts.seed,
            per_esp,
            per_group: per_group.into(),
            suspects: tally.suspects.clone(),
        }
    }

    /// Writes the tables to stdout; `kept` is the folder that stays.
    pub(super) fn print(&self, kept: Option<&Path>) -> anyhow::Result<()> {
        self.states().print()?;
        line("")?;
        self.esps().print()?;
        line("")?;
        self.groups().print()?;
        line("")?;
        line(format_args!(
            "{} messages in {:.1} s, {:.0} a second with the limits on. \
             Breakers opened {} and closed {} times; {} jobs were routed to a failover.",
            self.jobs,
            self.seconds,
            self.jobs_per_second,
            self.breaker_opened,
            self.breaker_closed,
            self.failovers
        ))?;
        line(self.verdict())?;
        line("")?;
        line(where_to_look(kept))
    }

    fn states(&self) -> Table {
        let mut table = Table::new(["state", "messages", "meaning"]);
        for (state, count, meaning) in [
            ("accepted", self.accepted, "an ESP took it, and its journal says so"),
            ("rejected", self.rejected, "the ESP refused the recipient for good"),
            ("suppressed", self.suppressed, "the recipient is on the suppression list: not sent"),
            ("expired", self.expired, "too late when it came, or deferred until it was"),
            ("unknown", self.unknown, "sent, and the answer was lost: kept for an operator, not sent again"),
            ("deferred", self.deferred, "still waiting, safely stored"),
            ("duplicate", self.duplicates, "the same message once more: recognised, not sent again"),
            ("dead", self.dead, "malformed: kept with the reason and the field at fault"),
            ("lost", self.lost, "none of these"),
            ("all", self.jobs, ""),
        ] {
            if count > 0 || state == "lost" {
                table.row([state.to_owned(), count.to_string(), meaning.to_owned()]);
            }
        }
        table
    }

    fn esps(&self) -> Table {
        let mut table = Table::new([
            "esp", "calls", "accepted", "deferred", "rejected", "faulted", "breaker", "opened", "closed",
        ]);
        for name in ESPS {
            let Some(esp) = self.per_esp.get(name) else { continue };
            let [calls, accepted, deferred] =
                [esp.calls, esp.accepted, esp.deferred].map(|it| it.to_string());
            let [rejected, faulted] = [esp.rejected, esp.faulted].map(|it| it.to_string());
            let [opened, closed] = [esp.breaker_opened, esp.breaker_closed].map(|it| it.to_string());
            let breaker = esp.breaker.to_owned();
            table.row([
                name.to_owned(),
                calls,
                accepted,
                deferred,
                rejected,
                faulted,
                breaker,
                opened,
                closed,
            ]);
        }
        table
    }

    fn groups(&self) -> Table {
        let mut table = Table::new(["domain group", "accepted", "wait p50 ms", "wait p99 ms"]);
        for group in Group::ALL {
            let Some(it) = self.per_group.get(group.name()) else { continue };
            let [p50, p99] = [it.wait_p50_ms, it.wait_p99_ms].map(|wait| format!("{wait:.1}"));
            table.row([group.name().to_owned(), it.accepted.to_string(), p50, p99]);
        }
        table
    }

    fn verdict(&self) -> String {
        let sound = self.lost == 0 && self.unflagged_duplicates == 0 && self.contradictions == 0;
        let mut text = if sound {
            "Nothing lost, nothing sent twice: the ledger and the journals of the ESPs agree.".to_owned()
        } else {
            format!(
                "NOT SOUND: {} lost, {} sent twice without a word, {} sent against the ledger's word. Look at: {}",
                self.lost,
                self.unflagged_duplicates,
                self.contradictions,
                self.suspects.join(", ")
            )
        };
        if self.interrupted {
            text.push_str(" Ended early.");
        }
        text
    }
}

impl EspReport {
    fn of(esp: &str, Facts { counters, breakers, .. }: &Facts<'_>) -> Self {
        let outcome = |word| counters.attempts(esp, word);
        Self {
            calls: counters.sum("sluice_attempts_total", &[("esp", esp)]),
            accepted: outcome("accepted"),
            deferred: outcome("deferred"),
            rejected: outcome("rejected"),
            faulted: outcome("faulted"),
            unknown: outcome("unknown"),
            breaker: breakers.iter().find(|view| view.esp == esp).map_or("closed", |view| view.state),
            breaker_opened: counters.transitions(esp, "open"),
            breaker_closed: counters.transitions(esp, "closed"),
        }
    }
}

fn where_to_look(kept: Option<&Path>) -> String {
    let files = match kept {
        None => "The files of this run are gone; `sluice demo --keep DIR` leaves them.".to_owned(),
        Some(folder) => format!(
            "Kept in {}: sluice.db (SQLite), sluice.toml (the configuration), and what each ESP took (*.journal).",
            folder.display()
        ),
    };
    format!(
        "{files}\nNext: `sluice run` is a working service on this machine; `sluice --help` and README.md tell the rest."
    )
}

/// To three places.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
