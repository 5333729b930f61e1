//! A limit is set while a backlog waits under it: it holds within two ticks, and never is more sent than either allows.

use std::time::{Duration, Instant};

use sluice_testkit::peers::busiest_window;

use crate::support::{Options, Rig, job, line, until};

/// In microseconds.
const WINDOW: i64 = 950_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_set_and_set_back() {
    let more = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["20/s"]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(2);
    let jobs: Vec<_> =
        (0..5000).map(|i| job(&format!("e-{i}"), "default", &format!("u{i}@icloud.com"))).collect();
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    until("sending has begun", async || rig.sendgrid.accepted() > 20).await;
    // As the replicas wrote them: on a busy machine requests arrive in heaps.
    let written = async |from: i64, to: i64| {
        let query = "select (extract(epoch from started_at) * 1000000)::bigint from sluice.attempt
            where started_at between to_timestamp($1::bigint / 1e6) and to_timestamp($2::bigint / 1e6)";
        let rows = rig.sql().await.query(query, &[&from, &to]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>()
    };
    let now = async || rig.count("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await;
    // `more_than` is what the limit before allows in 5 s: that more is sent shows that it no longer holds.
    let phase = async |spec: Option<&str>, limit: usize, more_than: usize| {
        match spec {
            Some(spec) => rig.cli(&["limits", "set", "group:apple", spec]),
            None => rig.cli(&["limits", "reset", "group:apple/per:s"]),
        };
        // Two ticks, and what was leased before.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for tries in 1.. {
            let from = now().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            let to = now().await;
            // Their results are in the store by then.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let sent = written(from, to).await;
            let busiest = busiest_window(sent.clone(), WINDOW);
            eprintln!("{spec:?}: {} in 5 s, busiest window {busiest} of {limit}", sent.len());
            assert!(busiest <= limit, "{busiest} of {limit}");
            if sent.len() > more_than {
                return;
            }
            assert!(tries < 4, "{} in 5 s: the limit before still holds", sent.len());
        }
    };
    phase(Some("100/s"), 100, 20 * 5).await;
    phase(Some("10/s"), 10, 0).await;
    phase(None, 20, 10 * 5).await;
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reads_the_limits_again() {
    let more = |spec: &str| {
        format!("[[domain_group]]\nname = \"apple\"\ndomains = [\"icloud.com\"]\nlimits = [\"{spec}\"]\n")
    };
    let mut rig = Rig::new(Options { more: more("1/min"), ..Options::default() });
    let replicas = rig.start(1);
    let jobs: Vec<_> =
        (0..200).map(|i| job(&format!("h-{i}"), "default", &format!("u{i}@icloud.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("one is sent", async || rig.sendgrid.accepted() == 1).await;
    rig.set_more("this is no configuration");
    replicas[0].rewrite_config(&rig.config());
    replicas[0].sighup();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.sendgrid.accepted(), 1, "a configuration with faults changes nothing");
    rig.set_more(&format!("{}[[pool]]\nname = \"new\"\nmembers = [{{ esp = \"grid\" }}]\n", more("100/s")));
    replicas[0].rewrite_config(&rig.config());
    replicas[0].sighup();
    let fresh = job("in-a-new-pool", "new", "ada@gmail.com");
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.publish(&[line(&fresh)]);
    let mut all = jobs;
    all.push(fresh);
    let verdict = rig.judge(&all, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&201));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_different_limits_are_told_apart() {
    let mut rig = Rig::new(Options::default());
    let mut replicas = rig.start(1);
    rig.set_more("[[tenant]]\nname = \"acme\"\nlimits = [\"1/s\"]\n");
    replicas.extend(rig.start(1));
    until("both say so", async || {
        replicas.iter().all(|replica| {
            let (_, ready) = replica.get("/ready").unwrap();
            let (_, metrics) = replica.get("/metrics").unwrap();
            ready.contains("different") && metrics.contains("sluice_fleet_config_mismatch 1")
        })
    })
    .await;
}

/// They waited for the next slots of the ESP that was to open first when they were parked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_the_line_of_one_esp_go_when_another_has_room() {
    let esp = |name: &str, limit: &str| {
        format!(
            "[[esp]]\nname = \"{name}\"\nkind = \"sendgrid\"\nbase_url = \"SENDGRID\"\napi_key = \"KEY\"\ntimeout = \"5s\"\n\
             limits = [\"{limit}\"]\n"
        )
    };
    let pool = "[[pool]]\nname = \"both\"\nmembers = [{ esp = \"wide\" }, { esp = \"narrow\" }]\n";
    let more = format!("{}{}{pool}", esp("wide", "10/day"), esp("narrow", "10/h"));
    let rig = Rig::new(Options { more, ..Options::default() });
    let replicas = rig.start(2);
    let jobs: Vec<_> = (0..200).map(|i| job(&format!("o-{i}"), "both", &format!("u{i}@gmail.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let in_line = async |esp: &str| {
        rig.count(&format!("select count(*) from sluice.pending where limit_key like 'esp:{esp}/%'")).await
    };
    // The rest stays in the broker, and what was in hand is parked as well.
    let mut last = 0;
    until("some wait for the one that opens first", async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = in_line("narrow").await;
        std::mem::replace(&mut last, now) == now && now > 0
    })
    .await;
    let before = rig.metric(&replicas, "sluice_parked_total");
    rig.cli(&["limits", "set", "esp:wide", "1000/day"]);
    let began = Instant::now();
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&200));
    let written = rig.metric(&replicas, "sluice_parked_total") - before;
    eprintln!("{last} in line; sent in {:?}, {written} written to pending meanwhile", began.elapsed());
    assert!(written <= 20.0, "{written}");
}
