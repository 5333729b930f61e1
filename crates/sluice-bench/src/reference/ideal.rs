//! Consume, call the ESP, record in batches, ack; with a claim before the call or without, and with the worker's own way
//! of making a call out of a body or a bare one.

use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::{Channel, Consumer};
use tokio::task::JoinSet;

use super::acks::Prefix;
use super::batches::{CLAIM, Counts, INSERT, Item, UPDATE, write};
use super::call::Caller;
use super::call_http2::CallerHttp2;
use super::worker_call::WorkerCall;
use super::{Kind, ReferenceArgs, consume, tell};

/// Connections for claims, and as many for results: as the worker has it.
const WRITERS: usize = 3;
/// More than the broker lends, so that no queue between two steps is ever full.
const QUEUE_MAX: usize = 4_096;

type Flow = (flume::Sender<Item>, flume::Receiver<Item>);

/// Runs until a step fails. Tells its batch sizes when it is dropped.
pub(super) async fn run(args: &ReferenceArgs) -> anyhow::Result<()> {
    let claims_first = args.kind != Kind::Ideal;
    let (_connection, channel, consumer) = consume(args).await?;
    let flow = || -> Flow { flume::bounded(QUEUE_MAX) };
    let (arrived, called, recorded) = (flow(), flow(), flow());
    let counts = Told { claim: Arc::default(), record: Arc::default() };
    let mut steps: JoinSet<anyhow::Result<()>> = JoinSet::new();
    steps.spawn(deliver(consumer, arrived.0));
    steps.spawn(ack(channel, recorded.1));
    let mut writers =
        |statement, from: &flume::Receiver<Item>, to: &flume::Sender<Item>, counts: &Arc<Counts>| {
            for _ in 0..WRITERS {
                let (db, from, to, rest) = (args.db.clone(), from.clone(), to.clone(), recorded.0.clone());
                let counts = Arc::clone(counts);
                steps.spawn(async move { write(&db, statement, from, to, rest, &counts).await });
            }
        };
    let to_call = if claims_first {
        let claimed = flow();
        writers(CLAIM, &arrived.1, &claimed.0, &counts.claim);
        claimed.1
    } else {
        arrived.1
    };
    writers(if claims_first { UPDATE } else { INSERT }, &called.1, &recorded.0, &counts.record);
    let shared = match args.kind {
        Kind::IdealWork => Some(Call::Worker(Arc::new(WorkerCall::new(args.esp)?))),
        Kind::IdealClaimHttp2 => Some(Call::BareHttp2(CallerHttp2::connect(args.esp).await?)),
        Kind::Drain | Kind::Ideal | Kind::IdealClaim => None,
    };
    for _ in 0..args.connections.max(1) {
        let mut call = match &shared {
            Some(Call::Worker(call)) => Call::Worker(Arc::clone(call)),
            Some(Call::BareHttp2(caller)) => Call::BareHttp2(caller.clone()),
            Some(Call::Bare(_)) | None => Call::Bare(Caller::connect(args.esp).await?),
        };
        let (from, to) = (to_call.clone(), called.0.clone());
        steps.spawn(async move {
            while let Ok(item) = from.recv_async().await {
                match &mut call {
                    Call::Worker(call) => call.post(&item.body).await?,
                    Call::BareHttp2(caller) => caller.post(&item.id, &item.body).await?,
                    Call::Bare(caller) => caller.post(&item.id, &item.body).await?,
                }
                to.send_async(item).await.context("no recorder left")?;
            }
            Ok(())
        });
    }
    match steps.join_next().await {
        Some(ended) => ended.context("a step was cancelled")?.context("a step failed"),
        None => Ok(()),
    }
}

/// Who makes the call.
enum Call {
    Bare(Caller),
    BareHttp2(CallerHttp2),
    Worker(Arc<WorkerCall>),
}

/// The batch sizes, told at the end.
struct Told {
    claim: Arc<Counts>,
    record: Arc<Counts>,
}

impl Drop for Told {
    fn drop(&mut self) {
        let of = |counts: &Counts| [counts.rows(), counts.batches()];
        let line = serde_json::json!({"claim": of(&self.claim), "record": of(&self.record)});
        // Without a reader there is nobody to tell.
        tell(&line.to_string()).ok();
    }
}

async fn deliver(mut consumer: Consumer, to: flume::Sender<Item>) -> anyhow::Result<()> {
    while let Some(delivery) = consumer.next().await {
        let Delivery { delivery_tag, properties, data, .. } = delivery.context("the delivery failed")?;
        let id = properties.message_id().as_ref().map(ToString::to_string).context("a job without an id")?;
        to.send_async(Item { tag: delivery_tag, id, body: data }).await.context("nobody works")?;
    }
    anyhow::bail!("the broker has cancelled the consumer")
}

async fn ack(channel: Channel, done: flume::Receiver<Item>) -> anyhow::Result<()> {
    let mut prefix = Prefix::default();
    let mut acked = 0;
    while let Ok(item) = done.recv_async().await {
        prefix.finish(item.tag);
        done.try_iter().for_each(|item| prefix.finish(item.tag));
        if prefix.end() > acked {
            acked = prefix.end();
            channel.basic_ack(acked, BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
