//! What is logged.

use tempfile::NamedTempFile;
use tracing_subscriber::filter::LevelFilter;

use crate::name_server::Reply;
use crate::rig::{Rig, SHORT, one_host};

#[tokio::test]
async fn logs_name_no_domain_and_no_server() {
    let log = NamedTempFile::new().unwrap();
    let writer = log.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(writer);
    // For all tests: whatever they cause to be logged from here on is looked at, too.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    // What another thread has come by in between is not known to be wanted.
    tracing::callsite::rebuild_interest_cache();

    let rig = Rig::new(SHORT).await;
    // The DNS client warns of this with the domain and the server's address.
    rig.server.set_for_others(Reply::OtherQuestion(one_host("other.example", 300)));
    for number in 0..5 {
        rig.ask(&format!("secret{number}.example")).await;
        rig.is_settled().await;
    }

    let logged = std::fs::read_to_string(log.path()).unwrap();
    assert!(logged.contains("name servers do not answer"), "{logged}");
    assert!(!logged.contains("example") && !logged.contains("127.0.0.1"), "{logged}");
}
