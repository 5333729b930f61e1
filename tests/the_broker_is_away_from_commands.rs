//! The broker does not answer: what operators ask and order concerns the store alone, and works.

use std::process::Command;

use sluice_testkit::services::sluice_binary;

use crate::support::{Options, Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_and_orders_to_the_store_work() {
    let rig = Rig::new(Options::default());
    drop(rig.start(1));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    let dead_end = rig.config().replace(&rig.amqp_url, "amqp://guest:guest@127.0.0.1:1/x");
    assert!(!dead_end.contains(&rig.amqp_url));
    std::fs::write(&file, dead_end).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(sluice_binary()).arg("--config").arg(&file).args(args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    for (args, code) in [
        (&["limits", "list"][..], 0),
        (&["limits", "set", "esp:grid/per:s", "900/s burst 90"], 0),
        (&["esp", "list"], 0),
        (&["esp", "open", "grid"], 0),
        (&["esp", "auto", "grid"], 0),
        (&["campaign", "pause", "acme", "sale"], 0),
        (&["campaign", "list"], 0),
        (&["campaign", "cancel", "acme", "sale", "--yes"], 0),
        (&["why", "no-such-job"], 1),
        (&["dead", "list"], 0),
        (&["dead", "show", "1"], 1),
        (&["dead", "drop", "1"], 1),
        (&["unknown", "list"], 0),
        (&["unknown", "settle", "no-such-job", "--as", "accepted"], 1),
        (&["suppress", "add", "ada@gmail.com"], 0),
        (&["suppress", "list"], 0),
        (&["suppress", "remove", "ada@gmail.com"], 0),
        (&["migrate"], 0),
    ] {
        let (status, told) = run(args);
        assert_eq!(status, Some(code), "{args:?}: {told}");
        assert!(!told.contains("broker"), "{args:?}: {told}");
    }
    // What is published again cannot do without it, and says so.
    let (status, told) = run(&["dead", "replay", "1"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("RabbitMQ"), "{told}");
}
