//! The client: settings, the two connections, and the engine's ports on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use secrecy::SecretString;
use sluice_engine::{
    Announcement, Burial, Feed, Herald, Inbox, InboxError, LaneDepth, Outbox, PoisonFeed, Publication,
    PublishError,
};
use sluice_telemetry::Metrics;
use sluice_types::{Lane, Side};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{Address, Trust, close_channel, open_channel, within};
use crate::declaration::Declaration;
use crate::error::RabbitError;
use crate::feed::{Ackers, QueueFeed};
use crate::health::Health;
use crate::outbox::{Message, Publisher};
use crate::poison::PoisonQueue;
use crate::supervisor::{Link, Live, Purpose, Supervisor, settle};
use crate::topology::{POISON, TopologyPlan, lane_queue, short};

/// How to reach the broker, and what to find or make there.
#[derive(Clone, Debug)]
pub struct RabbitSettings {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS with the process's rustls provider.
    pub url: SecretString,
    /// PEM file of the authorities that sign the server's certificate, in place of the system's; read at each connection.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM files of our own certificate chain and its key, for a server that asks for one; read at each connection.
    pub tls_pair: Option<(PathBuf, PathBuf)>,
    /// Heartbeat, in whole seconds: a silent broker is given up after twice as long.
    pub heartbeat: Duration,
    /// Longest wait for an answer of the broker, and for a window of publisher confirms.
    pub timeout: Duration,
    /// How often a message may be delivered before it goes to `sluice.poison`. An existing queue keeps what it was declared
    /// with, and another value is refused.
    pub delivery_limit: u32,
    /// The lanes.
    pub topology: TopologyPlan,
    /// Declare exchanges, queues and bindings; otherwise only look whether they are there.
    pub declare: bool,
    /// Neither declare nor look: for a client that counts what is in lanes, however old its plan of them is.
    pub bystander: bool,
    /// Name in the broker's list of connections.
    pub name: String,
    /// Owns every task of this client.
    pub tasks: TaskTracker,
    /// Ends everything at once, without a flush; [`Rabbit::close`] is the orderly way.
    pub stop: CancellationToken,
}

/// A RabbitMQ client that reconnects by itself, over one connection to consume and one to publish.
#[derive(Debug)]
pub struct Rabbit {
    consume: Link,
    publisher: Publisher,
    health: Arc<Health>,
    declaration: Arc<Declaration>,
    /// What is wanted; held while it changes.
    plan: Mutex<TopologyPlan>,
    ackers: Ackers,
    delivery_limit: u32,
    timeout: Duration,
    stop: CancellationToken,
    supervisors: TaskTracker,
}

impl Rabbit {
    /// Begins to connect, and keeps trying. Does not wait: see [`Rabbit::ready`].
    ///
    /// # Errors
    /// When the URL does not parse.
    pub fn start(settings: RabbitSettings, metrics: Arc<Metrics>) -> Result<Self, RabbitError> {
        let RabbitSettings { url, tls_ca_file, tls_pair, heartbeat, timeout, delivery_limit, name, .. } =
            settings;
        let address = Address::new(&url, Trust { ca_file: tls_ca_file, pair: tls_pair }, heartbeat, timeout)?;
        let health = Arc::new(Health::new(metrics));
        let stop = settings.stop.child_token();
        let declares = settings.declare && !settings.bystander;
        let declaration = Arc::new(Declaration::new(settings.topology.topology(delivery_limit), declares));
        let supervisor = |purpose, declaration, after| Supervisor {
            purpose,
            name: name.clone(),
            address: address.clone(),
            declaration,
            after,
            health: Arc::clone(&health),
            timeout,
            stop: stop.clone(),
        };
        let (consume, keep_consuming) =
            supervisor(Purpose::Consume, (!settings.bystander).then(|| Arc::clone(&declaration)), None)
                .split();
        let (publish, keep_publishing) = supervisor(Purpose::Publish, None, Some(consume.clone())).split();
        let supervisors = TaskTracker::new();
        settings.tasks.spawn(supervisors.track_future(keep_consuming));
        settings.tasks.spawn(supervisors.track_future(keep_publishing));
        supervisors.close();
        Ok(Self {
            publisher: Publisher::new(publish, Arc::clone(&health), timeout),
            ackers: Ackers {
                all: settings.tasks,
                own: TaskTracker::new(),
                closing: CancellationToken::new(),
            },
            consume,
            health,
            declaration,
            plan: Mutex::new(settings.topology),
            delivery_limit,
            timeout,
            stop,
            supervisors,
        })
    }

    /// Waits until both connections stand and the topology is there.
    ///
    /// # Errors
    /// After `timeout`; at once when waiting will not mend it, such as a queue that exists with other arguments.
    pub async fn ready(&self, timeout: Duration) -> Result<(), RabbitError> {
        within(timeout, "connect", async {
            settle(&self.consume).await?;
            settle(self.publisher.link()).await
        })
        .await
    }

    /// Declares the lanes of another plan, now and on every later connection, and takes bindings away that only plans before
    /// had. Side lanes stay as they are. Queues stay, whatever is in them. Without leave to declare it only looks whether all is
    /// there.
    ///
    /// # Errors
    /// When the broker refuses: the plan before holds on. When it cannot be reached: this one is declared at the next connection.
    pub async fn redeclare(&self, plan: &TopologyPlan) -> Result<(), RabbitError> {
        let mut known = self.plan.lock().await;
        let wanted = TopologyPlan { sides: known.sides.clone(), ..plan.clone() };
        self.change(&mut known, wanted).await
    }

    async fn change(&self, known: &mut TopologyPlan, wanted: TopologyPlan) -> Result<(), RabbitError> {
        let before = self.declaration.want(Arc::new(wanted.topology(self.delivery_limit)));
        let settled = async {
            let live = self.consume.live().await?;
            self.declaration.settle(&live.connection, self.timeout).await
        };
        let settled = settled.await;
        if settled.as_ref().is_err_and(RabbitError::is_refusal) {
            self.declaration.want(before);
        } else {
            *known = wanted;
        }
        settled
    }

    /// Sends the acks that are due, waits for confirms under way, closes both connections. What was lent and not acked goes
    /// back to the lanes.
    pub async fn close(&self) {
        self.ackers.closing.cancel();
        self.ackers.own.close();
        if tokio::time::timeout(self.timeout, self.ackers.own.wait()).await.is_err() {
            tracing::warn!(lanes = self.ackers.own.len(), "not every lane's acks were sent in time");
        }
        self.publisher.drain().await;
        self.stop.cancel();
        if tokio::time::timeout(self.timeout, self.supervisors.wait()).await.is_err() {
            tracing::warn!("broker connections not closed in time");
        }
    }

    async fn open_queue(&self, queue: &str, prefetch: u16) -> Result<QueueFeed, RabbitError> {
        if self.ackers.closing.is_cancelled() {
            return Err(RabbitError::Closed);
        }
        let live = self.consume.live().await?;
        match QueueFeed::open(live.clone(), queue, prefetch, &self.ackers, self.timeout).await {
            Err(error) if error.is_missing() && self.restore(&live, &[queue]).await? => {
                QueueFeed::open(live, queue, prefetch, &self.ackers, self.timeout).await
            }
            opened => opened,
        }
    }

    async fn count(&self, lanes: &[Lane]) -> Result<Vec<LaneDepth>, RabbitError> {
        let live = self.consume.live().await?;
        match self.count_over(&live, lanes).await {
            Err(error) if error.is_missing() => {
                let names: Vec<String> = lanes.iter().map(lane_queue).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                if self.restore(&live, &names).await? {
                    self.count_over(&live, lanes).await
                } else {
                    Err(error)
                }
            }
            counted => counted,
        }
    }

    /// Declares everything again, since somebody has deleted one of `queues`, and with it its bindings. `false` when one of them
    /// is not ours to declare: a lane of an earlier plan stays deleted.
    async fn restore(&self, live: &Live, queues: &[&str]) -> Result<bool, RabbitError> {
        if !self.declaration.makes(queues) {
            return Ok(false);
        }
        tracing::warn!("a queue is gone: declaring all again");
        self.declaration.settle(&live.connection, self.timeout).await?;
        Ok(true)
    }

    async fn count_over(&self, live: &Live, lanes: &[Lane]) -> Result<Vec<LaneDepth>, RabbitError> {
        let channel = open_channel(&live.connection, self.timeout).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut depths = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let name = lane_queue(lane);
            let queue = within(self.timeout, "queue.declare", async {
                channel
                    .queue_declare(short(&name)?, options, FieldTable::default())
                    .await
                    .map_err(|error| RabbitError::declaring("queue", &name, "found", error))
            })
            .await?;
            depths.push(LaneDepth { lane: lane.clone(), ready: queue.message_count().into() });
        }
        close_channel(&channel, self.timeout).await;
        Ok(depths)
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Inbox for Rabbit {
    async fn open(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Feed>, InboxError> {
        Ok(Box::new(self.open_queue(&lane_queue(lane), prefetch).await?))
    }

    async fn depths(&self, lanes: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
        Ok(self.count(lanes).await?)
    }

    fn has_sides(&self) -> bool {
        self.declaration.declares()
    }

    async fn sort(&self, sides: &BTreeMap<String, Side>) -> Result<(), InboxError> {
        let mut known = self.plan.lock().await;
        let wanted = TopologyPlan { sides: sides.clone(), ..known.clone() };
        Ok(self.change(&mut known, wanted).await?)
    }

    fn delivery_limit(&self) -> Option<u32> {
        Some(self.delivery_limit)
    }

    async fn open_poison(&self, prefetch: u16) -> Result<Option<Box<dyn PoisonFeed>>, InboxError> {
        Ok(Some(Box::new(PoisonQueue(self.open_queue(POISON, prefetch).await?))))
    }
}

#[async_trait]
impl Outbox for Rabbit {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let messages = jobs.iter().enumerate().map(|(place, job)| Message::job(job, place)).collect();
        self.publisher.publish(messages).await
    }

    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        let messages =
            messages.iter().enumerate().map(|(place, burial)| Message::burial(burial, place)).collect();
        self.publisher.publish(messages).await
    }

    fn takes(&self) -> bool {
        self.health.up()
    }
}

#[async_trait]
impl Herald for Rabbit {
    async fn announce(&self, results: &[Announcement]) -> Vec<Result<(), PublishError>> {
        self.publisher.publish(results.iter().map(Message::result).collect()).await
    }
}
