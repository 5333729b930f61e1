//! A later version brings a migration while this one still works: first it expands (a column, an index, a table that this
//! version does not know), the replicas are replaced one by one, and then it contracts. Nothing is sent twice, nothing
//! waits, and a replica of this version starts beside the newer schema.

use std::time::Duration;

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, PATIENCE, Rig, job, line, until};

/// As a migration would write it; `V99` stands for the later version in the history that migrations are looked up in.
const EXPAND: &str = "
    alter table sluice.job add column of_a_later_version text;
    alter table sluice.attempt add column of_a_later_version integer default 7;
    alter table sluice.pending add column of_a_later_version text;
    create table sluice.of_a_later_version (id text primary key);
    create index job_of_a_later_version on sluice.job (of_a_later_version);
    insert into sluice.migration (version, name, applied_on, checksum)
        select 99, 'of_a_later_version', max(applied_on), '1' from sluice.migration;";
const CONTRACT: &str = "
    alter table sluice.job drop column of_a_later_version;
    alter table sluice.attempt drop column of_a_later_version;
    alter table sluice.pending drop column of_a_later_version;
    drop table sluice.of_a_later_version;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_work_side_by_side() {
    let rig = Rig::new(Options::default());
    rig.sendgrid.script(|_| Some(SendGridAnswer::AcceptAfter(Duration::from_millis(100))));
    let mut replicas = rig.start(2);
    let jobs: Vec<_> =
        (0..1_500).map(|i| job(&format!("schema-{i}"), "default", &format!("u{i}@acme.example"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let client = rig.sql().await;
    let more = async || {
        let sent = rig.sendgrid.accepted();
        let enough = (sent + 50).min(jobs.len());
        until("more is sent", async || rig.sendgrid.accepted() >= enough).await;
    };
    more().await;
    client.batch_execute(EXPAND).await.unwrap();
    more().await;
    for replica in &mut replicas {
        let next = rig.start(1).remove(0);
        let before = std::mem::replace(replica, next);
        before.sigterm();
        assert!(before.wait(PATIENCE).success(), "{}", before.log());
    }
    more().await;
    client.batch_execute(CONTRACT).await.unwrap();
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&jobs.len()));
    assert_eq!(rig.sendgrid.calls(), jobs.len(), "one call a job");
}
