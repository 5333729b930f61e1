//! Programs of the same kind that do less: the measure for the worker. Each runs as a process of its own.
//!
//! - drain: consume and ack.
//! - ideal: consume, call the ESP, one batched insert, ack. A killed one sends again what it had sent.
//! - ideal with claim: the same, and before the call a batched durable claim, after it an update. Over HTTP/1.1, or over HTTP/2.
//! - ideal work: ideal with claim, and each job is parsed, checked, rendered and sent as the worker does it. What the worker
//!   takes more than that is its pipeline, limits, breakers and ledger.
//!
//! None of them has limits, breakers or retries, and but for the last none looks into the body. They are as fast as we know how:
//! many calls in flight over connections that stay open, batches of whatever is there, acks of whole prefixes.

mod acks;
mod batches;
mod call;
mod call_http2;
mod drain;
mod ideal;
mod worker_call;

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::Context;
use clap::{Args, ValueEnum};
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, Consumer};

/// Deliveries that one reference program borrows.
const PREFETCH: u16 = 2_000;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Consume and ack.
    Drain,
    /// Consume, call, insert, ack.
    Ideal,
    /// The same with a claim before the call.
    IdealClaim,
    /// The same over HTTP/2.
    IdealClaimHttp2,
    /// The same with the worker's way from a body to a call.
    IdealWork,
}

/// What one of them is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReferenceArgs {
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) amqp: String,
    #[arg(long)]
    pub(crate) queue: String,
    #[arg(long)]
    pub(crate) db: String,
    #[arg(long)]
    pub(crate) esp: SocketAddr,
    /// Calls at the same time.
    #[arg(long)]
    pub(crate) connections: usize,
    /// `drain` tells how long these took.
    #[arg(long)]
    pub(crate) jobs: usize,
}

/// Works until its standard input ends.
pub(crate) fn main(args: &ReferenceArgs) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Whatever comes of it: the bench has gone, or has seen enough.
        drop(std::io::stdin().read(&mut [0]));
        drop(end);
    });
    runtime.block_on(async {
        tokio::select! {
            _ = ended => Ok(()),
            failed = Box::pin(work(args)) => failed,
        }
    })
}

async fn work(args: &ReferenceArgs) -> anyhow::Result<()> {
    match args.kind {
        Kind::Drain => drain::run(args).await,
        Kind::Ideal | Kind::IdealClaim | Kind::IdealClaimHttp2 | Kind::IdealWork => ideal::run(args).await,
    }
}

/// A connection, its channel, and a consumer on the queue. The connection has to be kept.
async fn consume(args: &ReferenceArgs) -> anyhow::Result<(Connection, Channel, Consumer)> {
    let properties = ConnectionProperties::default().with_connection_name("reference".into());
    let connection = Connection::connect(&args.amqp, properties).await.context("cannot reach RabbitMQ")?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let queue = ShortString::try_new(args.queue.as_str()).context("the queue's name is too long")?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue, "reference".into(), options, FieldTable::default()).await?;
    Ok((connection, channel, consumer))
}

/// One line for the bench.
fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("the bench has gone")
}
