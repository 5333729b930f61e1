//! Token buckets, shallow ones above all.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_bucket_of_any_depth_is_used_in_full() {
    for (rate, burst) in [
        (1, 1),
        (3, 1),
        (10, 1),
        (100, 1),
        (100, 2),
        (1000, 1),
        (1000, 2),
        (1000, 10),
        (1000, 20),
        (5000, 1),
        (5000, 100),
    ] {
        let store = Store::new(Duration::from_millis(4));
        let journal = Journal::default();
        let it = replica(&store);
        let seconds = if rate < 10 { 20 } else { 3 };
        backlog(
            &it,
            "other",
            &[esp_limit(&format!("{rate}/s burst {burst}"))],
            rate * (seconds + 2),
            &journal,
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = times(&journal, None).len();
        tokio::time::sleep(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
        let sent = times(&journal, None);
        it.kill();
        let used = sent.len() - before;
        assert!(used * 100 >= rate * seconds * 97, "{rate}/s burst {burst}: {used} of {}", rate * seconds);
        let worst = worst_window(&sent, Duration::from_secs(1));
        assert!(worst <= rate + burst, "{rate}/s burst {burst}: {worst} within a second");
    }
}
