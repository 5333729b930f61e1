//! The judge: what the ESP's journal holds against `job`, `attempt`, `pending`, `dead_letter` and the queues.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sluice_testkit::peers::SendGridCall;
use tokio_postgres::{Client, NoTls};

use crate::fleet::Endings;
use crate::heard::{amiss, heard};
use crate::limits::{Begun, overshoot};
use crate::load::{Load, number_in};
use crate::publisher::Told;
use crate::site::Site;

const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Most complaints of a kind that are written out.
const COMPLAINTS_MAX: usize = 5;

/// What came of a run. All numbers are jobs unless they say otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Published with a confirm, or answered `queued`.
    pub jobs: usize,
    /// Without a final state, and in neither `pending` nor a lane.
    pub lost: usize,
    /// Not settled in time: still under way somewhere.
    pub unsettled: usize,
    /// Accepted by the ESP more than once, and nothing says so.
    pub unflagged_duplicates: usize,
    /// Accepted more than once, and flagged as unknown.
    pub flagged_duplicates: usize,
    /// With an attempt whose outcome is unknown.
    pub flagged_unknowns: usize,
    /// In a state that the journal contradicts.
    pub wrong_states: usize,
    /// With more calls in the journal than attempts in the ledger.
    pub missing_attempts: usize,
    /// Malformed messages confirmed, and those of them that are no dead letter.
    pub malformed: usize,
    /// Malformed messages without their dead letter.
    pub malformed_lost: usize,
    /// In a final state that nobody was told of over `sluice.results`.
    #[serde(default)]
    pub untold: usize,
    /// Told of in a state that they are not in.
    #[serde(default)]
    pub told_wrongly: usize,
    /// By limit: calls beyond what the busiest second allows.
    pub overshoot: BTreeMap<String, usize>,
    /// Deliveries that replicas hold when all is settled.
    pub unacked: u64,
    /// Replicas that ended otherwise than by a clean drain or our kill.
    pub unclean_replicas: usize,
    /// Panics in the logs of replicas.
    pub panics: usize,
    /// Jobs by state.
    pub states: BTreeMap<String, usize>,
    /// Calls in the journal.
    pub calls: usize,
    /// What is wrong, in words; some of each kind.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// Whether every invariant held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// A connection, unless the server is away.
pub(crate) async fn connect(url: &str) -> Option<Client> {
    let connecting = tokio_postgres::connect(url, NoTls);
    let (client, connection) = tokio::time::timeout(Duration::from_secs(5), connecting).await.ok()?.ok()?;
    tokio::spawn(async move {
        // It ends with the client, or with a server that was killed.
        connection.await.ok();
    });
    Some(client)
}

/// Waits until every acknowledged job has a final state, `pending` holds only what waits for an operator, all is told that is to
/// be told, and no lane has a message. What is left unacknowledged by then, or `None` when it did not come within `timeout`.
pub(crate) async fn settle(site: &Site, load: &Load, told: &Told, timeout: Duration) -> Option<u64> {
    let wanted =
        (0..load.count).filter(|it| told.acknowledged.get(*it) == Some(&true) && load.is_job(*it)).count();
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let begin = Instant::now();
    let mut client = None;
    let mut last = String::new();
    while begin.elapsed() < timeout {
        if client.is_none() {
            client = connect(&site.db_url).await;
        }
        let counts = match &client {
            Some(client) => counts(client).await,
            None => None,
        };
        match counts {
            None => client = None,
            Some((done, parked, untold)) => {
                last = format!("{done} of {wanted} done, {parked} parked, {untold} untold");
                if done >= wanted && parked == 0 && untold == 0 {
                    let (ready, lent) = in_lanes(site);
                    last = format!("{last}, {ready} ready and {lent} lent");
                    if ready + lent == 0 {
                        return Some(lent);
                    }
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    eprintln!("not settled within {timeout:?}: {last}");
    None
}

async fn counts(client: &Client) -> Option<(i64, i64, i64)> {
    let sql = "select (select count(*) from sluice.job where state not in ('sending', 'deferred')),
                      (select count(*) from sluice.pending where due_at is not null or limit_key is not null),
                      (select count(*) from sluice.result)";
    client.query_one(sql, &[]).await.ok().map(|row| (row.get(0), row.get(1), row.get(2)))
}

/// Messages in all lanes: ready, and lent to replicas.
pub(crate) fn in_lanes(site: &Site) -> (u64, u64) {
    let depths = site.servers.broker.queue_depths(site.vhost());
    let lanes = depths.iter().filter(|(name, _)| name.starts_with("sluice.lane."));
    lanes.fold((0, 0), |(ready, lent), (_, counts)| (ready + counts.0, lent + counts.1))
}

/// Messages in the longest lane, ready or lent.
pub(crate) fn longest_lane(site: &Site) -> u64 {
    let depths = site.servers.broker.queue_depths(site.vhost());
    let lanes = depths.iter().filter(|(name, _)| name.starts_with("sluice.lane."));
    lanes.map(|(_, counts)| counts.0 + counts.1).max().unwrap_or(0)
}

/// One row of `job`.
struct Row {
    state: String,
}

/// Compares the ledger with the journal. The replicas are gone by now.
pub(crate) async fn judge(
    site: &Site,
    load: &Load,
    told: &Told,
    settled: Option<u64>,
    endings: &Endings,
) -> Verdict {
    let client = connect(&site.db_url).await.expect("the database is up when a run is judged");
    let rows = jobs(&client).await;
    let attempts = attempts_by_job(&client).await;
    let flagged = ids(&client, "select distinct job_id from sluice.attempt where outcome = 'unknown'").await;
    let parked = ids(&client, "select job_id from sluice.pending").await;
    let buried = ids(&client, "select job_id from sluice.dead_letter where job_id is not null").await;
    let (ready, lent) = in_lanes(site);
    let told_of = heard(&site.amqp_url).await;

    let journal = site.esp.journal();
    let calls = calls_by_job(&journal);
    let mut verdict = Verdict {
        flagged_unknowns: flagged.len(),
        unacked: settled.unwrap_or(0) + lent,
        unclean_replicas: endings.unclean.len(),
        panics: endings.panics.len(),
        calls: journal.len(),
        overshoot: overshoot(&begun(&client).await),
        ..Verdict::default()
    };
    let mut wrong = Complaints::default();
    for number in (0..load.count).filter(|number| told.acknowledged.get(*number) == Some(&true)) {
        let id = load.id(number);
        if !load.is_job(number) {
            verdict.malformed += 1;
            if !buried.contains(&id) && ready + lent == 0 {
                verdict.malformed_lost += 1;
                wrong.say("malformed", format!("{id} is malformed and no dead letter"));
            }
            continue;
        }
        verdict.jobs += 1;
        let state = rows.get(&id).map(|row| row.state.as_str());
        match state {
            Some("sending" | "deferred") if parked.contains(&id) || ready + lent > 0 => {
                verdict.unsettled += 1
            }
            None if parked.contains(&id) || ready + lent > 0 => verdict.unsettled += 1,
            None => {
                verdict.lost += 1;
                wrong.say("lost", format!("{id} is lost: no row, not parked, and the lanes are empty"));
            }
            Some(state @ ("sending" | "deferred")) => {
                verdict.lost += 1;
                wrong.say("lost", format!("{id} is lost: {state}, not parked, and the lanes are empty"));
            }
            Some(_) => {}
        }
    }
    for (id, row) in &rows {
        *verdict.states.entry(row.state.clone()).or_default() += 1;
        let accepted = calls.get(id).map_or(0, |it| it.accepted);
        let is_flagged = flagged.contains(id);
        let contradicted = match row.state.as_str() {
            "accepted" => accepted == 0,
            "unknown" => !is_flagged,
            _ => accepted > 0 && !is_flagged,
        };
        if contradicted {
            verdict.wrong_states += 1;
            wrong.say("state", format!("{id} is {}, and the ESP accepted it {accepted} times", row.state));
        }
        if number_in(id).is_none_or(|number| number >= load.count) {
            wrong.say("row", format!("{id} was never published"));
        }
    }
    match &told_of {
        Ok(heard) => {
            let states = rows.iter().map(|(id, row)| (id.as_str(), row.state.as_str())).collect();
            let amiss = amiss(&states, heard);
            (verdict.untold, verdict.told_wrongly) = (amiss.untold.len(), amiss.wrong.len());
            amiss.untold.into_iter().chain(amiss.wrong).for_each(|text| wrong.say("told", text));
        }
        Err(error) => wrong.say("told", format!("what was told could not be read: {error:#}")),
    }
    for (id, seen) in &calls {
        if seen.accepted > 1 {
            if flagged.contains(id) {
                verdict.flagged_duplicates += 1;
            } else {
                verdict.unflagged_duplicates += 1;
                wrong.say("duplicate", format!("{id} was accepted {} times, unflagged", seen.accepted));
            }
        }
        let known = attempts.get(id).copied().unwrap_or(0);
        if seen.calls > known {
            verdict.missing_attempts += 1;
            wrong.say("attempt", format!("{id} had {} calls and {known} attempts", seen.calls));
        }
    }
    if settled.is_none() {
        wrong.say("settled", format!("not settled in time: {ready} ready and {lent} lent in lanes"));
    }
    if verdict.unacked > 0 {
        wrong.say("unacked", format!("{} deliveries are still out", verdict.unacked));
    }
    for (limit, by) in &verdict.overshoot {
        wrong.say("limit", format!("{limit} was exceeded by {by} in one second"));
    }
    for text in endings.unclean.iter().chain(&endings.panics) {
        wrong.say("replica", text.clone());
    }
    verdict.complaints = wrong.into_words();
    verdict
}

/// What the journal says of one job.
#[derive(Default)]
struct Seen {
    calls: i64,
    accepted: usize,
}

fn calls_by_job(journal: &[SendGridCall]) -> HashMap<String, Seen> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    for call in journal {
        let it = seen.entry(call.job_id.clone().unwrap_or_default()).or_default();
        it.calls += 1;
        it.accepted += usize::from(call.accepted);
    }
    seen
}

async fn jobs(client: &Client) -> HashMap<String, Row> {
    let rows = client.query("select id, state from sluice.job", &[]).await.expect("jobs can be read");
    rows.iter().map(|row| (row.get(0), Row { state: row.get(1) })).collect()
}

async fn attempts_by_job(client: &Client) -> HashMap<String, i64> {
    let sql = "select job_id, count(*) from sluice.attempt group by 1";
    let rows = client.query(sql, &[]).await.expect("attempts can be read");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn ids(client: &Client, sql: &str) -> HashSet<String> {
    let rows = client.query(sql, &[]).await.expect("ids can be read");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every call that a replica wrote down itself, at its own time. Left out are claims that lapsed, as these have only a deadline, and
/// attempts that had nothing to call with: they reached no ESP, and took no slot.
async fn begun(client: &Client) -> Vec<Begun> {
    let sql =
        "select a.esp, split_part(j.recipient, '@', 2), (extract(epoch from a.started_at) * 1000000)::bigint
               from sluice.attempt a join sluice.job j on j.id = a.job_id
               where coalesce(a.category, '') not in ('worker_lost', 'connect')";
    let rows = client.query(sql, &[]).await.expect("attempts can be read");
    rows.iter().map(|row| Begun { esp: row.get(0), domain: row.get(1), at_us: row.get(2) }).collect()
}

/// Some complaints of each kind, and how many more there are.
#[derive(Default)]
struct Complaints(BTreeMap<&'static str, Vec<String>>);

impl Complaints {
    fn say(&mut self, kind: &'static str, text: String) {
        self.0.entry(kind).or_default().push(text);
    }

    fn into_words(self) -> Vec<String> {
        let mut words = Vec::new();
        for (kind, texts) in self.0 {
            let more = texts.len().saturating_sub(COMPLAINTS_MAX);
            words.extend(texts.into_iter().take(COMPLAINTS_MAX));
            if more > 0 {
                words.push(format!("and {more} more of kind `{kind}`"));
            }
        }
        words
    }
}
