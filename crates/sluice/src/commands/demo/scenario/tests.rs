use super::*;

fn count(scenario: &Scenario, is: impl Fn(&Sample) -> bool) -> u32 {
    u32::try_from(scenario.samples.iter().filter(|sample| is(sample)).count()).unwrap()
}

#[test]
fn the_shares_add_up_to_the_jobs_asked_for() {
    for jobs in [100, 101, 137, 300, 999, 1000, 2000, 4321, 100_000] {
        let (scenario, shares) = (Scenario::new(jobs, 7), Shares::of(jobs));
        assert_eq!(count(&scenario, |_| true), jobs, "{jobs}");
        assert_eq!(count(&scenario, |it| matches!(it.kind, Kind::Copy { .. })), shares.copies, "{jobs}");
        assert_eq!(count(&scenario, |it| matches!(it.kind, Kind::Malformed(_))), shares.malformed, "{jobs}");
        assert_eq!(count(&scenario, |it| it.kind == Kind::Suppressed), shares.suppressed, "{jobs}");
        let plain = shares.plain + shares.gmail + shares.premium + shares.late;
        assert_eq!(count(&scenario, |it| it.kind == Kind::Plain), plain, "{jobs}");
    }
}

#[test]
fn every_copy_and_every_taken_id_names_a_plain_sample_before_it() {
    for seed in 0..20 {
        let scenario = Scenario::new(1000, seed);
        for (number, sample) in scenario.samples.iter().enumerate() {
            if let Kind::Copy { of } | Kind::Malformed(Fault::TakenId { of }) = sample.kind {
                let of = usize::try_from(of).unwrap();
                assert!(of < number);
                assert_eq!(scenario.samples[of].kind, Kind::Plain);
                assert_eq!(scenario.samples[of].group, sample.group);
            }
        }
    }
}

#[test]
fn the_late_samples_are_for_the_pool_whose_breaker_opens() {
    let scenario = Scenario::new(2000, 1);
    assert_eq!(scenario.late, 100);
    let late = &scenario.samples[scenario.samples.len() - scenario.late..];
    assert!(late.iter().all(|it| it.pool == Pool::Premium && it.kind == Kind::Plain));
}

#[test]
fn the_same_seed_gives_the_same_samples() {
    assert_eq!(Scenario::new(500, 3).samples, Scenario::new(500, 3).samples);
    assert_ne!(Scenario::new(500, 3).samples, Scenario::new(500, 4).samples);
}
