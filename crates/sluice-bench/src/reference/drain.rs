//! Consume and ack, nothing else: what the broker can hand out.

use std::time::Instant;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::BasicAckOptions;

use super::{ReferenceArgs, consume, tell};

/// Deliveries of one ack.
const ACK_EVERY: usize = 200;

pub(super) async fn run(args: &ReferenceArgs) -> anyhow::Result<()> {
    let (_connection, channel, mut consumer) = consume(args).await?;
    let (mut count, mut begin) = (0, None);
    while let Some(delivery) = consumer.next().await {
        let tag = delivery.context("the delivery failed")?.delivery_tag;
        let begin: &mut Instant = begin.get_or_insert_with(Instant::now);
        count += 1;
        if count % ACK_EVERY == 0 || count == args.jobs {
            channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        if count == args.jobs {
            tell(&begin.elapsed().as_secs_f64().to_string())?;
        }
    }
    anyhow::bail!("the broker has cancelled the consumer")
}
