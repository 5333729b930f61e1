//! The exchanges of a domain: from the table, from a lookup under way, or from a new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{MxAnswer, MxSource};
use tokio::sync::{Semaphore, watch};
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
/// Lookups that wait for a place, for each place that there is.
const WAITING_FOR_A_PLACE: usize = 15;

/// Looks mail exchanges up and remembers them.
///
/// A domain that is asked for many times at once is looked up once. Each lookup is a task of its own, which ends within
/// the timeout and goes on when nobody waits for it any more. At most `lookups_max` ask at a time; the next wait up to half
/// of the timeout for a place and ask within the rest. After five lookups in a row without any answer, and none about the
/// root of all names either, only one in 10 s is tried until one is answered. What was known of a domain is gone by
/// meanwhile: exchanges hardly ever change, and a hosted domain must not leave its provider's limits for a lost packet.
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
        let places = Semaphore::new(settings.lookups_max.min(Semaphore::MAX_PERMITS));
        let state = State {
            table: Table::new(settings.table_max),
            under_way: HashMap::new(),
            health: Health::default(),
        };
        Ok(Self {
            shared: Arc::new(Shared { client, places, settings, state: Mutex::new(state) }),
            tasks: TaskTracker::new(),
        })
    }

    /// Waits until no lookup is under way.
    pub async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
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
        let lookups_max = self.shared.settings.lookups_max.saturating_mul(1 + WAITING_FOR_A_PLACE);
        if state.under_way.len() >= lookups_max || !state.health.admits(now) {
            return Start::Known(state.table.last(&domain).cloned().unwrap_or(MxAnswer::NotKnown));
        }
        let (tell, end) = watch::channel(None);
        state.under_way.insert(Arc::clone(&domain), end.clone());
        drop(state);

        let lookup = Running { shared: Arc::clone(&self.shared), domain, found: Finding::NotAsked, tell };
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
    /// Who has one may ask.
    places: Semaphore,
    settings: MxSettings,
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// Those that ask and those that wait for a place.
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
            Finding::NotAsked => (MxAnswer::NotKnown, Duration::ZERO),
        }
    }

    /// What the end of a lookup says of the name servers.
    fn note(&self, answered: bool) {
        let now = self.settings.clock.tick();
        let mut state = self.state();
        let change = if answered { state.health.answered() } else { state.health.not_answered(now) };
        drop(state);
        match change {
            Change::None => {}
            Change::Away => {
                tracing::warn!("name servers do not answer: exchanges of new domains are not known")
            }
            Change::Back => tracing::info!("name servers answer again"),
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
    /// Asks as soon as there is a place, all within the timeout.
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let timeout = shared.settings.timeout;
        let began = shared.settings.clock.tick();
        let Ok(Ok(_place)) = tokio::time::timeout(timeout / 2, shared.places.acquire()).await else {
            return;
        };
        let left = timeout.saturating_sub(shared.settings.clock.tick().since(began)).max(timeout / 2);
        self.found = shared.client.ask(&self.domain, left).await;
        let answered = self.found != Finding::NotAnswered;
        drop(self);
        // Nobody waits for this: it may be the name servers of that one domain that are dead.
        shared.note(answered || shared.client.is_there(timeout).await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let found = std::mem::replace(&mut self.found, Finding::NotAsked);
        let is_news = found != Finding::NotAsked;
        let (mut answer, keep) = self.shared.answer(found);
        let now = self.shared.settings.clock.tick();
        let mut state = self.shared.state();
        // What was known before is gone by until a newer answer comes.
        if matches!(answer, MxAnswer::NotKnown)
            && let Some(last) = state.table.last(&self.domain)
        {
            answer = last.clone();
        }
        if is_news {
            state.table.remember(Arc::clone(&self.domain), answer.clone(), now + keep, now);
        }
        state.under_way.remove(&self.domain);
        drop(state);
        self.tell.send_replace(Some(answer));
    }
}
