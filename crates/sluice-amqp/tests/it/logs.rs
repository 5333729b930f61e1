//! What is logged of a connection that does not come about.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_amqp::Rabbit;
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::rig::{in_time, metrics, settings};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    /// What the adapter wrote.
    fn ours(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("sluice_amqp")).map(str::to_owned).collect()
    }
}

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

/// A command that was done before both connections stood told "broker not reached: client is closed".
#[tokio::test]
async fn only_an_end_that_nobody_asked_for_is_told() {
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(page.clone());
    // This test and what it spawns run on one thread.
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://guest:guest@{}/%2f", broker.local_addr().unwrap());

    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    let (line, _) = in_time(broker.accept()).await.unwrap();
    rabbit.close().await;
    assert_eq!(page.ours(), [""; 0]);

    drop((line, broker));
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    in_time(async {
        while page.ours().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(page.ours()[0].contains("broker not reached"), "{:?}", page.ours());
    rabbit.close().await;
}
