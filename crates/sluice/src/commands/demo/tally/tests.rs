use super::*;
use crate::commands::demo::scenario::{Fault, Scenario};

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// A run in which everything went as it ought to, each send 1 ms after the enqueuing.
fn perfect(jobs: u32) -> (Scenario, Vec<Timestamp>, Evidence) {
    let scenario = Scenario::new(jobs, 1);
    let enqueued_at = vec![START; scenario.samples.len()];
    let mut evidence = Evidence::default();
    for (number, sample) in (0..).zip(&scenario.samples) {
        let word = match sample.kind {
            Kind::Plain => Word::State(JobState::Accepted),
            Kind::Suppressed => Word::State(JobState::Suppressed),
            Kind::Expired | Kind::Deferred => Word::State(JobState::Expired),
            Kind::Rejected => Word::State(JobState::Rejected),
            Kind::Unknown => Word::State(JobState::Unknown),
            Kind::Copy { .. } => Word::Nothing,
            Kind::Malformed(fault) => {
                *evidence.dead.entry(message::reason(fault).as_str().to_owned()).or_default() += 1;
                Word::Nothing
            }
        };
        if matches!(sample.kind, Kind::Plain | Kind::Unknown) {
            let first_at = START + std::time::Duration::from_millis(1);
            evidence.sends.insert(number, Sends { count: 1, first_at });
        }
        evidence.words.push(word);
    }
    (scenario, enqueued_at, evidence)
}

fn sum(tally: &Tally) -> u64 {
    tally.accepted
        + tally.rejected
        + tally.suppressed
        + tally.expired
        + tally.unknown
        + tally.deferred
        + tally.duplicates
        + tally.dead
        + tally.lost
}

fn first(scenario: &Scenario, is: impl Fn(Kind) -> bool) -> u32 {
    u32::try_from(scenario.samples.iter().position(|it| is(it.kind)).unwrap()).unwrap()
}

/// Spoils a perfect run, and checks that the sums still add up.
fn check(spoil: impl Fn(&Scenario, &mut Evidence), expected: impl Fn(&Tally) -> bool) {
    let (scenario, enqueued_at, mut evidence) = perfect(300);
    spoil(&scenario, &mut evidence);
    let tally = Tally::of(&scenario.samples, &enqueued_at, &evidence);
    assert_eq!(sum(&tally), 300, "{tally:?}");
    assert!(expected(&tally), "{tally:?}");
}

fn say(evidence: &mut Evidence, number: u32, word: Word) {
    evidence.words[usize::try_from(number).unwrap()] = word;
}

#[test]
fn a_perfect_run_adds_up_and_is_sound() {
    check(|_, _| {}, |tally| tally.is_sound() && tally.suspects.is_empty() && tally.dead == 3);
    let (scenario, enqueued_at, evidence) = perfect(300);
    let tally = Tally::of(&scenario.samples, &enqueued_at, &evidence);
    let waits: usize = tally.groups.values().map(|group| group.waits_us.len()).sum();
    assert_eq!(u64::try_from(waits).unwrap(), tally.accepted);
    assert!(tally.groups.values().all(|group| group.wait_ms(50).to_bits() == 1.0f64.to_bits()));
}

#[test]
fn a_job_that_nobody_knows_is_lost() {
    let lose = |scenario: &Scenario, evidence: &mut Evidence| {
        let number = first(scenario, |kind| kind == Kind::Plain);
        say(evidence, number, Word::Nothing);
        evidence.sends.remove(&number);
    };
    check(lose, |tally| tally.lost == 1 && !tally.is_sound() && tally.suspects == ["demo-0"]);
}

#[test]
fn a_job_that_still_lies_in_a_lane_is_not_lost_but_left() {
    let leave = |scenario: &Scenario, evidence: &mut Evidence| {
        let number = first(scenario, |kind| kind == Kind::Plain);
        say(evidence, number, Word::Nothing);
        evidence.sends.remove(&number);
        evidence.left_in_lanes = 1;
    };
    check(leave, |tally| tally.lost == 0 && tally.deferred == 1 && !tally.is_sound());
}

#[test]
fn an_acceptance_that_no_journal_confirms_is_lost() {
    let forget = |scenario: &Scenario, evidence: &mut Evidence| {
        evidence.sends.remove(&first(scenario, |kind| kind == Kind::Plain));
    };
    check(forget, |tally| tally.lost == 1 && tally.contradictions == 0);
}

#[test]
fn a_claim_without_a_result_is_lost() {
    let stick = |scenario: &Scenario, evidence: &mut Evidence| {
        say(evidence, first(scenario, |kind| kind == Kind::Plain), Word::State(JobState::Sending));
    };
    check(stick, |tally| tally.lost == 1 && tally.contradictions == 0);
}

#[test]
fn a_dead_letter_that_is_not_there_is_lost() {
    let lose = |_: &Scenario, evidence: &mut Evidence| {
        evidence.dead.remove(message::reason(Fault::NotJson).as_str());
    };
    check(lose, |tally| tally.lost == 1 && tally.dead == 2);
}

#[test]
fn a_job_in_the_journals_twice_counts_unless_the_ledger_says_so_itself() {
    let twice = |scenario: &Scenario, evidence: &mut Evidence| {
        let number = first(scenario, |kind| kind == Kind::Plain);
        evidence.sends.get_mut(&number).unwrap().count = 2;
    };
    check(twice, |tally| tally.unflagged_duplicates == 1 && !tally.is_sound());
    let flagged = |scenario: &Scenario, evidence: &mut Evidence| {
        twice(scenario, evidence);
        evidence.flagged.push(first(scenario, |kind| kind == Kind::Plain));
    };
    check(flagged, Tally::is_sound);
}

#[test]
fn a_suppressed_job_that_an_esp_took_is_a_contradiction() {
    let send = |scenario: &Scenario, evidence: &mut Evidence| {
        let number = first(scenario, |kind| kind == Kind::Suppressed);
        evidence.sends.insert(number, Sends { count: 1, first_at: START });
    };
    check(send, |tally| tally.contradictions == 1 && !tally.is_sound());
}

#[test]
fn only_what_was_enqueued_is_counted() {
    let (scenario, enqueued_at, evidence) = perfect(300);
    let tally = Tally::of(&scenario.samples, &enqueued_at[..40], &evidence);
    assert_eq!((tally.jobs, sum(&tally), tally.lost), (40, 40, 0));
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let group = GroupTally { accepted: 4, waits_us: vec![1000, 2000, 3000, 4000] };
    for (percent, expected) in [(50, 2.0f64), (99, 4.0), (100, 4.0), (1, 1.0)] {
        assert_eq!(group.wait_ms(percent).to_bits(), expected.to_bits(), "{percent}");
    }
    assert_eq!(GroupTally::default().wait_ms(50).to_bits(), 0.0f64.to_bits());
}
