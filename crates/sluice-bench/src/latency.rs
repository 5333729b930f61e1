//! How long jobs wait, and publishing at a steady pace so that it means something.

use std::time::{Duration, Instant};

use sluice_testkit::peers::JobPublisher;

use crate::job::{Address, message};
use crate::journal::Journal;
use crate::run::{Figure, Run};

/// The value that `percent` of `sorted` do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Publishes jobs `first..first + count` to `address`, `per_second`, and answers when each was handed to the client.
pub(crate) async fn publish_steadily(
    amqp: &str,
    address: &Address,
    first: usize,
    count: usize,
    per_second: u32,
) -> Vec<Instant> {
    let mut publisher = JobPublisher::connect(amqp).await;
    let begin = tokio::time::Instant::now();
    let mut published = Vec::with_capacity(count);
    for (number, place) in (first..first + count).zip(0_u32..) {
        tokio::time::sleep_until(begin + Duration::from_secs(1) * place / per_second).await;
        published.push(Instant::now());
        publisher.publish(&message(number, address)).await;
    }
    publisher.finish().await;
    published
}

/// How long the jobs from `first` on took to the ESP, sorted; those that have not come are left out.
pub(crate) fn waits(journal: &Journal, first: usize, published: &[Instant]) -> Vec<Duration> {
    let pairs = (first..).zip(published);
    let mut waits: Vec<Duration> = pairs
        .filter_map(|(number, at)| Some(journal.arrival(number)?.saturating_duration_since(*at)))
        .collect();
    waits.sort_unstable();
    waits
}

/// Enters p50 and p99 of `waits`.
pub(crate) fn enter(run: &mut Run, waits: &[Duration]) {
    let ms = |percent| percentile(waits, percent).map(|wait| wait.as_secs_f64() * 1_000.0);
    run.set_some(Figure::P50Ms, ms(50));
    run.set_some(Figure::P99Ms, ms(99));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let waits: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&waits, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&waits, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&waits[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_wait_runs_from_publication_to_the_journal() {
        let journal = Journal::new(3);
        let published = [Instant::now(); 2];
        journal.record(Some(2));
        assert_eq!(waits(&journal, 1, &published).len(), 1);
    }
}
