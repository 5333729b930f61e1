//! The exchanges of a domain: from the table, from a lookup under way, or from a new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{MxAnswer, MxSource};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::convert::Finding;
use crate::error::ResolverError;
use crate::health::{Change, Health};
use crate::name::tidy;
use crate::settings::MxSettings;
use crate::table::Table;

/// The shortest time for which an answer is remembered, whatever its TTL says.
const REMEMBERED_AT_LEAST: Duration = Duration::from_secs(60);
/// How long a domain that could not be looked up is not asked for again.
///
/// It holds after a timeout, too: the jobs of one domain whose name servers are dead must not each wait for it, nor
/// make the resolver count as away.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Looks mail exchanges up and remembers them.
///
/// A domain that is asked for many times at once is looked up once. Each lookup is a task of its own, which ends within
/// the timeout and goes on when nobody waits for it any more; at most `lookups_max` are under way. After five
/// lookups in a row without any answer, only one in 10 s is tried until one is answered. What was known of a domain is gone
/// by meanwhile: exchanges hardly ever change, and a hosted domain must not leave its provider's limits for a lost packet.
///
/// Dropping the resolver leaves its last lookups to end by themselves.
pub struct MxResolver {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl MxResolver {
    /// A resolver that has not asked anything yet.
    ///
    /// # Errors
    /// When `servers` is empty and the system's name servers cannot be read, or when the client cannot be set up.
    pub fn new(settings: MxSettings) -> Result<Self, ResolverError> {
        let client = Client::new(&settings.servers, settings.timeout)?;
        let state = State {
            table: Table::new(settings.table_max),
            under_way: HashMap::new(),
            health: Health::default(),
        };
        Ok(Self {
            shared: Arc::new(Shared { client, settings, state: Mutex::new(state) }),
            tasks: TaskTracker::new(),
        })
    }

    /// What is known at once, or the lookup to wait for.
    fn start(&self, domain: Arc<str>) -> Start {
        let now = self.shared.settings.clock.tick();
        let mut state = self.shared.state();
        if let Some(answer) = state.table.answer(&domain, now) {
            return Start::Known(answer.clone());
        }
        if let Some(end) = state.under_way.get(&domain) {
            return Start::UnderWay(end.clone());
        }
        // In this order: a lookup that is admitted as a trial must be made.
        if state.under_way.len() >= self.shared.settings.lookups_max || !state.health.admits(now) {
            return Start::Known(state.table.last(&domain).cloned().unwrap_or(MxAnswer::NotKnown));
        }
        let (tell, end) = watch::channel(None);
        state.under_way.insert(Arc::clone(&domain), end.clone());
        drop(state);

        let lookup = Running { shared: Arc::clone(&self.shared), domain, found: Finding::Unclear, tell };
        self.tasks.spawn(lookup.run());
        Start::UnderWay(end)
    }
}

#[async_trait]
impl MxSource for MxResolver {
    async fn exchanges(&self, domain: &str) -> MxAnswer {
        let Some(domain) = tidy(domain) else { return MxAnswer::NotKnown };
        let mut end = match self.start(domain.into()) {
            Start::Known(answer) => return answer,
            Start::UnderWay(end) => end,
        };
        // Fails when the lookup's task is gone without a word.
        match end.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(MxAnswer::NotKnown),
            Err(_) => MxAnswer::NotKnown,
        }
    }
}

impl fmt::Debug for MxResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("MxResolver")
            .field("remembered", &state.table.len())
            .field("under_way", &state.under_way.len())
            .field("health", &state.health)
            .finish_non_exhaustive()
    }
}

/// How a question begins.
enum Start {
    Known(MxAnswer),
    UnderWay(watch::Receiver<Option<MxAnswer>>),
}

/// What the resolver and its lookups have in common.
struct Shared {
    client: Client,
    settings: MxSettings,
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// Holds no more than `lookups_max`.
    under_way: HashMap<Arc<str>, watch::Receiver<Option<MxAnswer>>>,
    health: Health,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a finding answers, and for how long.
    fn answer(&self, found: Finding) -> (MxAnswer, Duration) {
        let (found_for, not_found_for) = (self.settings.found_for, self.settings.not_found_for);
        match found {
            Finding::Found(hosts, ttl) => {
                (MxAnswer::Hosts(hosts), ttl.min(found_for).max(REMEMBERED_AT_LEAST))
            }
            // RFC 2308 section 5: an answer that does not say how long it holds should not be kept for long.
            Finding::Absent(ttl) => (
                MxAnswer::Hosts(Arc::default()),
                ttl.unwrap_or_default().min(not_found_for).max(REMEMBERED_AT_LEAST),
            ),
            Finding::Unclear | Finding::NotAnswered => (MxAnswer::NotKnown, UNKNOWN_FOR),
        }
    }
}

/// One lookup under way. Its end is recorded and told when it is dropped, however that comes about.
struct Running {
    shared: Arc<Shared>,
    domain: Arc<str>,
    found: Finding,
    tell: watch::Sender<Option<MxAnswer>>,
}

impl Running {
    async fn run(mut self) {
        self.found = self.shared.client.ask(&self.domain).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let found = std::mem::replace(&mut self.found, Finding::Unclear);
        let answered = found != Finding::NotAnswered;
        let (mut answer, keep) = self.shared.answer(found);
        let now = self.shared.settings.clock.tick();
        let change = {
            let mut state = self.shared.state();
            // What was known before is gone by until a newer answer comes.
            if matches!(answer, MxAnswer::NotKnown)
                && let Some(last) = state.table.last(&self.domain)
            {
                answer = last.clone();
            }
            state.table.remember(Arc::clone(&self.domain), answer.clone(), now + keep, now);
            state.under_way.remove(&self.domain);
            if answered { state.health.answered() } else { state.health.not_answered(now) }
        };
        match change {
            Change::None => {}
            Change::Away => {
                tracing::warn!("name servers do not answer: exchanges of new domains are not known")
            }
            Change::Back => tracing::info!("name servers answer again"),
        }
        self.tell.send_replace(Some(answer));
    }
}
