//! Half of the traffic goes where nothing can go: the other half gets through while it waits. How fast beside a run
//! without the first half is measured by `scripts/bench`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use sluice_testkit::pool_of_one;

use crate::support::{Options, Rig, job, line, until};

/// Jobs of each half.
const HALF: usize = 1_500;

/// `silent` takes connections and answers nothing.
fn more(silent: SocketAddr) -> String {
    let limits = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["1/s"]

        [[domain_group]]
        name = "other"
        limits_per_domain = ["1000/s"]
    "#;
    // Nobody listens on the port "discard".
    let dead = (Ipv4Addr::LOCALHOST, 9).into();
    pool_of_one("dead", dead, "1s") + &pool_of_one("hung", silent, "4s") + limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_half_gets_through() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = more(silent.local_addr().unwrap());
    let rig = Rig::new(Options { more, ..Options::default() });
    let replicas = rig.start(1);
    rig.cli(&["limits", "set", "domain:slow.example", "1/s"]);
    until("the broker sorts it", async || {
        let bindings =
            rig.broker().rabbitmqctl(&["list_bindings", "--silent", "-p", rig.vhost(), "routing_key"]);
        bindings.lines().any(|key| key == "default.bulk.slow.example")
    })
    .await;
    drop(replicas);
    for (name, pool, domain) in [
        ("group", "default", "icloud.com"),
        ("dead", "dead", "gmail.com"),
        ("hung", "hung", "gmail.com"),
        // It has a side lane, since there is a limit for it alone.
        ("side", "default", "slow.example"),
        // It shares the lane of all domains without a group, as its limit is set too late.
        ("lane", "default", "late.example"),
    ] {
        let mut lines = Vec::with_capacity(2 * HALF);
        for i in 0..HALF {
            lines.push(line(&job(&format!("{name}-stuck-{i}"), pool, &format!("s{i}@{domain}"))));
            lines.push(line(&job(&format!("{name}-free-{i}"), "default", &format!("f{i}@free.example"))));
        }
        rig.publish_backlog(&lines);
        if name == "lane" {
            rig.cli(&["limits", "set", "domain:late.example", "1/s"]);
        }
        let replicas = rig.start(1);
        let through = |half: &str| {
            let prefix = format!("{name}-{half}-");
            rig.sendgrid.accepted_by_job().keys().filter(|id| id.starts_with(&prefix)).count()
        };
        until("all that can go has gone", async || through("free") == HALF).await;
        let stuck = through("stuck");
        eprintln!("{name}: {HALF} went while {stuck} of the others did");
        assert!(stuck < HALF / 2, "{stuck} of {HALF} went, so they held nobody up");
        // What cannot go stays in the broker, but for the few that showed that their ESP is dead.
        let parked = rig.count("select count(*) from sluice.pending where pool = 'dead'").await;
        assert!(parked < 300, "{parked} of {HALF} were read and parked for an ESP that never answered");
        let parked = "select count(*) from sluice.pending where limit_key like 'domain:slow.example/%'";
        // On a busy machine slots pass by unused, and one or another job then waits for longer than its lane holds it.
        let parked = rig.count(parked).await;
        assert!(parked < 20, "{parked} parked: a domain with a side lane is held by its lane");
        drop(replicas);
    }
    let depths = rig.broker().queue_depths(rig.vhost());
    let (ready, lent) = depths["sluice.lane.default.bulk.other.1"];
    assert!(ready + lent > HALF as u64 / 2, "{ready} and {lent} left in the side lane");
}
