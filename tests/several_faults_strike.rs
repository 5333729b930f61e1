//! The harness of `sluice-chaos` on a fixed short set: runs of several faults each, from seeds that stay. Results are told in
//! all of them, and the judge misses none, also where the broker and the replica that tells are killed. `scripts/chaos` plays
//! longer ones.

use std::sync::Arc;
use std::time::Duration;

use sluice_chaos::{Fault, Scenario, Servers, named};

/// What strikes in which run. Together they touch replicas, broker, database, ESP and lines.
const RUNS: [(u64, &[&str]); 3] = [
    (11, &["replica_killed", "commit_answers_lost", "esp_resets_after", "line_cut"]),
    (12, &["replica_hangs_briefly", "postgres_backends_terminated", "esp_500", "consumers_cancelled"]),
    (13, &["broker_killed", "replicas_killed_together"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_no_duplicate_is_unflagged() {
    let servers = Arc::new(tokio::task::spawn_blocking(Servers::start).await.unwrap());
    for (seed, faults) in RUNS {
        let faults: Vec<Fault> = faults.iter().map(|name| named(name).unwrap()).collect();
        let scenario = Scenario {
            seed,
            name: "fixed".to_owned(),
            faults,
            upgrade_from: None,
            replicas: 3,
            messages: 1_500,
            rate: 200.0,
            malformed_permille: 5,
            strikes_max: 4,
            settle_max: Duration::from_secs(120),
        };
        let report = scenario.run(&servers).await;
        eprintln!("{report:?}");
        assert!(report.verdict.holds(), "seed {seed}: {:#?}", report.verdict.complaints);
        assert!(report.strikes.len() >= 2, "seed {seed} has hardly struck");
        assert!(report.verdict.jobs > 1_400 && report.verdict.states.contains_key("accepted"), "{report:?}");
    }
}
