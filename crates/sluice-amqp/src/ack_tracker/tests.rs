use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const STRAGGLER: Duration = Duration::from_millis(20);

fn at(ms: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(ms)
}

fn tracker(tags: u64) -> AckTracker {
    let mut tracker = AckTracker::new(STRAGGLER, 0);
    (1..=tags).for_each(|tag| tracker.delivered(tag));
    tracker
}

#[test]
fn a_contiguous_prefix_becomes_one_ack() {
    let mut tracker = tracker(5);
    [3, 1, 2].into_iter().for_each(|tag| tracker.done(tag));
    assert_eq!(tracker.take_ready(at(0)), [AckOp::Ack { tag: 3, multiple: true }]);
    assert_eq!(tracker.take_ready(at(1000)), []);
    assert_eq!(tracker.lent(), 2);
}

#[test]
fn a_straggler_waits_for_the_tag_below_it_but_not_for_ever() {
    let mut tracker = tracker(3);
    tracker.done(3);
    assert_eq!(tracker.take_ready(at(0)), []);
    assert_eq!(tracker.take_ready(at(19)), []);
    assert_eq!(tracker.take_ready(at(20)), [AckOp::Ack { tag: 3, multiple: false }]);
    tracker.done(1);
    tracker.done(2);
    assert_eq!(tracker.take_ready(at(21)), [AckOp::Ack { tag: 2, multiple: true }]);
}

#[test]
fn stragglers_do_not_wait_when_they_hold_up_the_prefetch() {
    let mut tracker = AckTracker::new(STRAGGLER, 2);
    (1..=3).for_each(|tag| tracker.delivered(tag));
    tracker.done(3);
    assert_eq!(tracker.take_ready(at(0)), []);
    tracker.done(2);
    assert_eq!(tracker.take_ready(at(0)).len(), 2);
}

#[test]
fn a_release_goes_before_the_ack_that_covers_it_and_is_never_named_by_it() {
    let mut tracker = tracker(4);
    [1, 2, 4].into_iter().for_each(|tag| tracker.done(tag));
    tracker.release(3);
    assert_eq!(tracker.take_ready(at(0)), [AckOp::Release { tag: 3 }, AckOp::Ack { tag: 4, multiple: true }]);
}

#[test]
fn what_was_given_back_once_is_not_given_back_again() {
    let mut tracker = tracker(2);
    tracker.done(1);
    tracker.done(1);
    tracker.release(1);
    tracker.release(2);
    tracker.done(2);
    tracker.done(7);
    assert_eq!(
        tracker.take_ready(at(0)),
        [AckOp::Release { tag: 2 }, AckOp::Ack { tag: 1, multiple: false }]
    );
    assert!(!tracker.has_unsent());
}

#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Done(prop::sample::Index),
    Release(prop::sample::Index),
    Take(u64),
    TakeAll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Deliver),
        4 => any::<prop::sample::Index>().prop_map(Step::Done),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (0_u64..30).prop_map(Step::Take),
        1 => Just(Step::TakeAll),
    ]
}

/// A broker's view of one channel: it checks every operation as it comes.
#[derive(Default)]
struct Broker {
    unacked: BTreeSet<u64>,
    done: BTreeSet<u64>,
    released: BTreeSet<u64>,
    acked: Vec<u64>,
    requeued: Vec<u64>,
}

impl Broker {
    fn apply(&mut self, op: AckOp) -> Result<(), TestCaseError> {
        match op {
            AckOp::Release { tag } => {
                prop_assert!(self.unacked.remove(&tag), "unknown tag {tag}");
                prop_assert!(self.released.contains(&tag), "{tag} was not released");
                self.requeued.push(tag);
            }
            AckOp::Ack { tag, multiple } => {
                prop_assert!(self.unacked.contains(&tag), "unknown tag {tag}");
                let first = if multiple { 0 } else { tag };
                let gone: Vec<_> = self.unacked.range(first..=tag).copied().collect();
                for tag in gone {
                    prop_assert!(self.done.contains(&tag), "{tag} is not done");
                    self.unacked.remove(&tag);
                    self.acked.push(tag);
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_done_tag_is_acked_once_and_no_other(
        steps in prop::collection::vec(step(), 0..200),
        urgent in 0_usize..8,
    ) {
        let mut tracker = AckTracker::new(STRAGGLER, urgent);
        let mut broker = Broker::default();
        let mut lent = BTreeSet::new();
        let (mut tag, mut now) = (0, 0);
        for step in steps {
            let pick = |index: prop::sample::Index| index.index(usize::try_from(tag).unwrap().max(1)) as u64 + 1;
            match step {
                Step::Deliver => {
                    tag += 1;
                    tracker.delivered(tag);
                    lent.insert(tag);
                    broker.unacked.insert(tag);
                }
                Step::Done(index) => {
                    tracker.done(pick(index));
                    if lent.remove(&pick(index)) {
                        broker.done.insert(pick(index));
                    }
                }
                Step::Release(index) => {
                    tracker.release(pick(index));
                    if lent.remove(&pick(index)) {
                        broker.released.insert(pick(index));
                    }
                }
                Step::Take(later) => {
                    now += later;
                    for op in tracker.take_ready(at(now)) {
                        broker.apply(op)?;
                    }
                }
                Step::TakeAll => {
                    for op in tracker.take_all(at(now)) {
                        broker.apply(op)?;
                    }
                    prop_assert_eq!(&broker.unacked, &lent);
                }
            }
            prop_assert_eq!(tracker.lent(), lent.len());
        }
        for op in tracker.take_all(at(now)) {
            broker.apply(op)?;
        }
        prop_assert_eq!(&broker.unacked, &lent);
        prop_assert_eq!(broker.acked.len(), broker.done.len());
        prop_assert_eq!(broker.requeued.len(), broker.released.len());
        prop_assert!(!tracker.has_unsent());
    }

    #[test]
    fn no_straggler_waits_longer_than_it_may(tags in prop::collection::btree_set(2_u64..100, 1..50)) {
        let mut tracker = tracker(100);
        tags.iter().for_each(|tag| tracker.done(*tag));
        prop_assert_eq!(tracker.take_ready(at(5)), []);
        prop_assert_eq!(tracker.take_ready(at(25)).len(), tags.len());
    }
}
