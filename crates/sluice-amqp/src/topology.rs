//! What is declared at the broker: as pure data, and the calls that declare it.
//!
//! `sluice.jobs` is declared with no arguments, as publishers know it, and hands everything on to `sluice.jobs.domains`. There a
//! job's key `<pool>.<class>.<domain>` meets the configured domains, and those with a side lane, which are bound exactly. What matches none falls through
//! alternate exchanges: into its pool's `other` lane, else into the `other` lanes of the default pool, else into the bulk one of
//! these. Messages beyond the delivery limit go to `sluice.poison`, refused ones to `sluice.dead`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, TryStreamExt};
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use sluice_types::{Class, GroupName, Lane, PoolName, Side};

use crate::connect::{close_channel, open_channel, within};
use crate::error::RabbitError;

/// The exchange that jobs are published to.
pub const JOBS: &str = "sluice.jobs";
/// Exchange and queue of messages that exceeded the delivery limit.
pub const POISON: &str = "sluice.poison";
/// The exchange that tells upstream services of final states.
pub const RESULTS: &str = "sluice.results";
/// Exchange and queue of refused messages.
pub const DEAD: &str = "sluice.dead";

const JOBS_DOMAINS: &str = "sluice.jobs.domains";
const JOBS_OTHER: &str = "sluice.jobs.other";
const JOBS_DEFAULT: &str = "sluice.jobs.default";
const JOBS_REST: &str = "sluice.jobs.rest";
const LANE_PREFIX: &str = "sluice.lane.";
/// Delivery limit of the dead letter queues: as good as none. RabbitMQ 4 would drop a message after 20 deliveries if none was
/// given, and 3.10 knows no word for "unlimited".
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;
/// Bindings under way to the broker.
const AT_ONCE: usize = 32;
/// Longest routing key, in bytes (AMQP 0-9-1, 4.2.5.3: short strings).
const KEY_MAX_BYTES: usize = 255;

/// The queue of `lane`.
#[must_use]
pub fn lane_queue(lane: &Lane) -> String {
    format!("{LANE_PREFIX}{lane}")
}

/// The lane whose queue is `name`.
pub(crate) fn queue_lane(name: &str) -> Option<Lane> {
    name.strip_prefix(LANE_PREFIX)?.parse().ok()
}

/// The pools and domain groups to make lanes for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyPlan {
    /// The configured pools. The pool `default` has `other` lanes in any case.
    pub pools: Vec<PoolName>,
    /// The configured groups with their domains, in lower case. `other` exists in any case. A domain in two groups belongs to
    /// the first.
    pub groups: Vec<(GroupName, Vec<String>)>,
    /// Domains that no group names and that have a side lane of `other` to themselves.
    pub sides: BTreeMap<String, Side>,
    /// Whether upstream services are told of final states.
    pub results: bool,
}

impl TopologyPlan {
    /// Every lane that this plan has a queue for.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        let mut lanes = BTreeSet::new();
        for pool in &self.pools {
            for class in Class::ALL {
                for (group, _) in &self.groups {
                    lanes.insert(lane(pool, class, group));
                }
                let other = lane(pool, class, &GroupName::other());
                // Those with a lower number may hold jobs of a domain of before.
                let last = self.sides.values().max();
                let sides = Side::all().take_while(|side| last.is_some_and(|last| side <= last));
                lanes.extend(sides.map(|side| Lane { side: Some(side), ..other.clone() }));
                lanes.insert(other);
            }
        }
        for class in Class::ALL {
            lanes.insert(lane(&PoolName::default(), class, &GroupName::other()));
        }
        lanes.into_iter().collect()
    }

    /// Everything to declare, in order. `delivery_limit` is how often a lane's message may be delivered before it is poison.
    #[must_use]
    pub fn topology(&self, delivery_limit: u32) -> Topology {
        let mut bindings = self.domain_bindings();
        for pool in &self.pools {
            for class in Class::ALL {
                let other = lane(pool, class, &GroupName::other());
                bindings.push(Binding::new(&lane_queue(&other), JOBS_OTHER, &format!("{pool}.{class}.#")));
            }
        }
        for class in Class::ALL {
            let other = lane(&PoolName::default(), class, &GroupName::other());
            bindings.push(Binding::new(&lane_queue(&other), JOBS_DEFAULT, &format!("*.{class}.#")));
        }
        let rest = lane(&PoolName::default(), Class::Bulk, &GroupName::other());
        bindings.push(Binding::new(&lane_queue(&rest), JOBS_REST, ""));
        bindings.push(Binding::new(POISON, POISON, ""));
        bindings.push(Binding::new(DEAD, DEAD, ""));
        let results = self.results.then(|| Exchange::new(RESULTS, ExchangeType::Topic, None));
        Topology {
            exchanges: [
                Exchange::new(POISON, ExchangeType::Fanout, None),
                Exchange::new(DEAD, ExchangeType::Fanout, None),
                Exchange::new(JOBS_REST, ExchangeType::Fanout, None),
                Exchange::new(JOBS_DEFAULT, ExchangeType::Topic, Some(JOBS_REST)),
                Exchange::new(JOBS_OTHER, ExchangeType::Topic, Some(JOBS_DEFAULT)),
                Exchange::new(JOBS_DOMAINS, ExchangeType::Topic, Some(JOBS_OTHER)),
                Exchange::new(JOBS, ExchangeType::Topic, None),
            ]
            .into_iter()
            .chain(results)
            .collect(),
            queues: [POISON, DEAD]
                .into_iter()
                .map(|name| Queue { name: name.to_owned(), delivery_limit: None, dead_letter_exchange: None })
                .chain(self.lanes().iter().map(|lane| Queue {
                    name: lane_queue(lane),
                    delivery_limit: Some(delivery_limit),
                    dead_letter_exchange: Some(POISON),
                }))
                .collect(),
            bindings,
        }
    }

    fn domain_bindings(&self) -> Vec<Binding> {
        let mut bindings = Vec::new();
        for pool in &self.pools {
            for class in Class::ALL {
                let mut seen = BTreeSet::new();
                for (group, domains) in self.groups.iter().filter(|(group, _)| !group.is_other()) {
                    let queue = lane_queue(&lane(pool, class, group));
                    for domain in domains.iter().filter(|domain| seen.insert(domain.as_str())) {
                        bindings.push(Binding::new(
                            &queue,
                            JOBS_DOMAINS,
                            &format!("{pool}.{class}.{domain}"),
                        ));
                    }
                }
                let free = self.sides.iter().filter(|(domain, _)| !seen.contains(domain.as_str()));
                for (domain, side) in free {
                    let other = lane(pool, class, &GroupName::other());
                    let queue = lane_queue(&Lane { side: Some(*side), ..other });
                    bindings.push(Binding::new(&queue, JOBS_DOMAINS, &format!("{pool}.{class}.{domain}")));
                }
            }
        }
        // A key that no publisher can write needs no binding.
        bindings.retain(|binding| binding.key.len() <= KEY_MAX_BYTES);
        bindings
    }
}

fn lane(pool: &PoolName, class: Class, group: &GroupName) -> Lane {
    Lane { pool: pool.clone(), class, group: group.clone(), side: None }
}

/// Exchanges, queues and bindings, in the order in which they are declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// An alternate exchange stands before the one that names it.
    pub exchanges: Vec<Exchange>,
    /// Quorum queues, all of them.
    pub queues: Vec<Queue>,
    /// Which keys of an exchange go into which queue.
    pub bindings: Vec<Binding>,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeType {
    /// By a pattern over the key's words.
    Topic,
    /// Everything everywhere.
    Fanout,
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// How it routes.
    pub kind: ExchangeType,
    /// Where goes what matches no binding.
    pub alternate: Option<&'static str>,
}

impl Exchange {
    fn new(name: &'static str, kind: ExchangeType, alternate: Option<&'static str>) -> Self {
        Self { name, kind, alternate }
    }
}

/// A durable quorum queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Deliveries before a message is dead-lettered; `None` is as good as unlimited.
    pub delivery_limit: Option<u32>,
    /// Where messages beyond the limit go, at least once.
    pub dead_letter_exchange: Option<&'static str>,
}

/// A queue takes what matches `key` in an exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// The queue.
    pub queue: String,
    /// The exchange.
    pub exchange: &'static str,
    /// Key or pattern; empty for a fanout.
    pub key: String,
}

impl Binding {
    fn new(queue: &str, exchange: &'static str, key: &str) -> Self {
        Self { queue: queue.to_owned(), exchange, key: key.to_owned() }
    }
}

impl Topology {
    /// Declares everything, then removes the bindings that are `outdated`; a repetition changes nothing. `timeout` bounds each
    /// call.
    pub(crate) async fn declare(
        &self,
        connection: &Connection,
        mut outdated: Vec<Binding>,
        timeout: Duration,
    ) -> Result<(), RabbitError> {
        let channel = open_channel(connection, timeout).await?;
        let mut is_of_before = false;
        for exchange in &self.exchanges {
            if exchange.name == JOBS {
                is_of_before = exchange.declare_or_adopt(connection, timeout).await?;
            } else {
                exchange.declare(&channel, false, timeout).await?;
            }
        }
        for queue in &self.queues {
            queue.declare(&channel, false, timeout).await?;
        }
        // There may be thousands, and each is a round trip.
        let bindings = stream::iter(self.bindings.iter().map(Ok));
        bindings.try_for_each_concurrent(AT_ONCE, |binding| binding.declare(&channel, timeout)).await?;
        hand_on(&channel, timeout).await?;
        if is_of_before {
            // They lead past the exchange behind it, and nobody would take one away whose domain moves.
            let of_domains = self.bindings.iter().filter(|binding| binding.exchange == JOBS_DOMAINS);
            outdated.extend(of_domains.map(|binding| Binding { exchange: JOBS, ..binding.clone() }));
        }
        let outdated = stream::iter(outdated.iter().map(Ok));
        outdated.try_for_each_concurrent(AT_ONCE, |binding| binding.remove(&channel, timeout)).await?;
        close_channel(&channel, timeout).await;
        Ok(())
    }

    /// Looks whether every exchange and queue is there, and declares nothing.
    pub(crate) async fn check(&self, connection: &Connection, timeout: Duration) -> Result<(), RabbitError> {
        let channel = open_channel(connection, timeout).await?;
        for exchange in &self.exchanges {
            exchange.declare(&channel, true, timeout).await?;
        }
        for queue in &self.queues {
            queue.declare(&channel, true, timeout).await?;
        }
        close_channel(&channel, timeout).await;
        Ok(())
    }

    /// Whether a queue of that name belongs to it.
    pub(crate) fn has_queue(&self, name: &str) -> bool {
        self.queues.iter().any(|queue| queue.name == name)
    }

    /// The bindings of `older` that this one has no more; left in place they would copy jobs into lanes of before.
    pub(crate) fn outdated(&self, older: &Self) -> Vec<Binding> {
        let kept: BTreeSet<_> = self.bindings.iter().collect();
        older.bindings.iter().filter(|binding| !kept.contains(binding)).cloned().collect()
    }
}

/// Binds the exchange that publishers know to the one that sorts, by everything.
async fn hand_on(channel: &Channel, timeout: Duration) -> Result<(), RabbitError> {
    within(timeout, "exchange.bind", async {
        let options = ExchangeBindOptions::default();
        channel
            .exchange_bind(JOBS_DOMAINS.into(), JOBS.into(), "#".into(), options, FieldTable::default())
            .await
            .map_err(|error| RabbitError::declaring("exchange", JOBS_DOMAINS, "bound", error))
    })
    .await
}

impl Exchange {
    /// Declares `sluice.jobs`, on channels of its own, since a refusal ends one; true where it stands as earlier builds made it,
    /// with an alternate exchange. It stays so: by the binding `#` nothing gets there any more.
    async fn declare_or_adopt(
        &self,
        connection: &Connection,
        timeout: Duration,
    ) -> Result<bool, RabbitError> {
        let channel = open_channel(connection, timeout).await?;
        match self.declare(&channel, false, timeout).await {
            Ok(()) => {
                close_channel(&channel, timeout).await;
                Ok(false)
            }
            Err(mismatch @ RabbitError::Mismatch { .. }) => {
                let channel = open_channel(connection, timeout).await?;
                let of_before = Self { alternate: Some(JOBS_OTHER), ..self.clone() };
                of_before.declare(&channel, false, timeout).await.map_err(|_| mismatch)?;
                close_channel(&channel, timeout).await;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn declare(&self, channel: &Channel, passive: bool, timeout: Duration) -> Result<(), RabbitError> {
        let kind = match self.kind {
            ExchangeType::Topic => ExchangeKind::Topic,
            ExchangeType::Fanout => ExchangeKind::Fanout,
        };
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        if let Some(alternate) = self.alternate {
            arguments.insert("alternate-exchange".into(), text(alternate));
        }
        within(timeout, "exchange.declare", async {
            channel
                .exchange_declare(self.name.into(), kind, options, arguments)
                .await
                .map_err(|error| RabbitError::declaring("exchange", self.name, verb(passive), error))
        })
        .await
    }
}

impl Queue {
    async fn declare(&self, channel: &Channel, passive: bool, timeout: Duration) -> Result<(), RabbitError> {
        let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
        within(timeout, "queue.declare", async {
            channel
                .queue_declare(short(&self.name)?, options, self.arguments())
                .await
                .map_err(|error| RabbitError::declaring("queue", &self.name, verb(passive), error))
        })
        .await?;
        Ok(())
    }

    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        let limit = self.delivery_limit.map_or(NO_DELIVERY_LIMIT, i64::from);
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
        if let Some(exchange) = self.dead_letter_exchange {
            arguments.insert("x-dead-letter-exchange".into(), text(exchange));
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
            // Without it RabbitMQ falls back to at-most-once dead lettering, silently.
            arguments.insert("x-overflow".into(), text("reject-publish"));
        }
        arguments
    }
}

impl Binding {
    async fn declare(&self, channel: &Channel, timeout: Duration) -> Result<(), RabbitError> {
        within(timeout, "queue.bind", async {
            channel
                .queue_bind(
                    short(&self.queue)?,
                    self.exchange.into(),
                    short(&self.key)?,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(|error| self.failed("declared", error))
        })
        .await
    }

    /// Takes the binding away; one that is not there is fine.
    pub(crate) async fn remove(&self, channel: &Channel, timeout: Duration) -> Result<(), RabbitError> {
        within(timeout, "queue.unbind", async {
            channel
                .queue_unbind(
                    short(&self.queue)?,
                    self.exchange.into(),
                    short(&self.key)?,
                    FieldTable::default(),
                )
                .await
                .map_err(|error| self.failed("removed", error))
        })
        .await
    }

    fn failed(&self, verb: &'static str, source: lapin::Error) -> RabbitError {
        let name = format!("{} of {} to {}", self.key, self.exchange, self.queue);
        RabbitError::Entity { kind: "binding", name, verb, source: Box::new(source) }
    }
}

/// An AMQP short string, which holds 255 bytes at most.
pub(crate) fn short(text: &str) -> Result<ShortString, RabbitError> {
    ShortString::try_new(text).map_err(|_| RabbitError::TooLong)
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

const fn verb(passive: bool) -> &'static str {
    if passive { "found" } else { "declared" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TopologyPlan {
        TopologyPlan {
            pools: vec!["shop".parse().unwrap()],
            groups: vec![
                ("gmail".parse().unwrap(), vec!["gmail.com".into(), "googlemail.com".into()]),
                ("yahoo".parse().unwrap(), vec!["yahoo.com".into(), "gmail.com".into()]),
            ],
            sides: BTreeMap::new(),
            results: false,
        }
    }

    #[test]
    fn every_pool_and_the_default_one_have_other_lanes() {
        let lanes: Vec<_> = plan().lanes().iter().map(ToString::to_string).collect();
        assert_eq!(
            lanes,
            [
                "default.transactional.other",
                "default.bulk.other",
                "shop.transactional.gmail",
                "shop.transactional.other",
                "shop.transactional.yahoo",
                "shop.bulk.gmail",
                "shop.bulk.other",
                "shop.bulk.yahoo",
            ]
        );
    }

    #[test]
    fn a_domain_is_bound_once_per_pool_and_class() {
        let topology = plan().topology(20);
        let gmail: Vec<_> =
            topology.bindings.iter().filter(|binding| binding.key == "shop.bulk.gmail.com").collect();
        assert_eq!(gmail.len(), 1);
        assert_eq!(gmail[0].queue, "sluice.lane.shop.bulk.gmail");
    }

    #[test]
    fn every_binding_names_what_is_declared_and_every_alternate_stands_before_its_user() {
        let topology = plan().topology(20);
        for binding in &topology.bindings {
            assert!(topology.queues.iter().any(|queue| queue.name == binding.queue), "{binding:?}");
            assert!(topology.exchanges.iter().any(|exchange| exchange.name == binding.exchange));
        }
        for (at, exchange) in topology.exchanges.iter().enumerate() {
            let before = &topology.exchanges[..at];
            assert!(exchange.alternate.is_none_or(|name| before.iter().any(|other| other.name == name)));
        }
    }

    #[test]
    fn results_have_an_exchange_only_where_they_are_told() {
        let has = |topology: Topology| topology.exchanges.iter().any(|exchange| exchange.name == RESULTS);
        assert!(!has(plan().topology(20)));
        assert!(has(TopologyPlan { results: true, ..plan() }.topology(20)));
    }

    #[test]
    fn a_domain_that_moved_leaves_an_outdated_binding() {
        let mut moved = plan();
        moved.groups[0].1.retain(|domain| domain != "googlemail.com");
        let outdated = moved.topology(20).outdated(&plan().topology(20));
        let keys: Vec<_> = outdated.iter().map(|binding| binding.key.as_str()).collect();
        assert_eq!(keys, ["shop.transactional.googlemail.com", "shop.bulk.googlemail.com"]);
    }

    #[test]
    fn a_domain_with_a_side_lane_is_bound_to_it_unless_a_group_names_it() {
        let sides = [
            ("slow.example".to_owned(), Side::new(2).unwrap()),
            ("gmail.com".to_owned(), Side::new(1).unwrap()),
        ];
        let sorted = TopologyPlan { sides: sides.into(), ..plan() };
        let topology = sorted.topology(20);
        let queues = |topology: &Topology, key: &str| -> Vec<String> {
            let bound = topology.bindings.iter().filter(|binding| binding.key == key);
            bound.map(|binding| binding.queue.clone()).collect()
        };
        assert_eq!(queues(&topology, "shop.bulk.slow.example"), ["sluice.lane.shop.bulk.other.2"]);
        assert_eq!(queues(&topology, "shop.bulk.gmail.com"), ["sluice.lane.shop.bulk.gmail"]);
        for lane in ["shop.bulk.other.1", "shop.bulk.other.2", "shop.transactional.other.2"] {
            assert!(sorted.lanes().contains(&lane.parse().unwrap()), "{lane}");
        }
        let keys: Vec<_> = plan().topology(20).outdated(&topology).into_iter().map(|it| it.key).collect();
        assert_eq!(keys, ["shop.transactional.slow.example", "shop.bulk.slow.example"]);
    }

    #[test]
    fn a_key_longer_than_amqp_allows_is_left_out() {
        let plan = TopologyPlan {
            pools: vec!["p".repeat(64).parse().unwrap()],
            groups: vec![("g".parse().unwrap(), vec!["d".repeat(253)])],
            sides: BTreeMap::new(),
            results: false,
        };
        assert!(plan.topology(20).bindings.iter().all(|binding| binding.key.len() <= 255));
    }

    #[test]
    fn a_queue_name_reads_back_as_its_lane() {
        let lane: Lane = "default.bulk.gmail".parse().unwrap();
        assert_eq!(queue_lane(&lane_queue(&lane)), Some(lane));
        assert_eq!(queue_lane("sluice.dead"), None);
        assert_eq!(queue_lane("sluice.lane.a.b"), None);
    }
}
