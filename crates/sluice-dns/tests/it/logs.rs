//! What is logged.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::name_server::Reply;
use crate::rig::{Rig, SHORT, one_host};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn logs_name_no_domain_and_no_server() {
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(page.clone());
    // For all tests: whatever they cause to be logged from here on is looked at, too.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    // What another thread has come by in between is not known to be wanted.
    tracing::callsite::rebuild_interest_cache();

    let rig = Rig::new(SHORT).await;
    // The DNS client warns of this with the domain and the server's address.
    rig.server.set_for_others(Reply::OtherQuestion(one_host("other.example", 300)));
    for number in 0..5 {
        rig.ask(&format!("secret{number}.example")).await;
    }

    let logged = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("name servers do not answer"), "{logged}");
    assert!(!logged.contains("example") && !logged.contains("127.0.0.1"), "{logged}");
}
