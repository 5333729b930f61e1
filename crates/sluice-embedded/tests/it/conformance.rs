//! The cases that every adapter must pass.

use std::sync::Arc;

use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::SystemClock;
use sluice_testkit::conformance::{
    fleet::Document, queue::Queue, slots::Source, store::Store, unknowns::Desk,
};
use tempfile::TempDir;

fn open() -> (Arc<Embedded>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let settings =
        EmbeddedSettings { path: dir.path().join("sluice.db"), worker: "worker".to_owned(), clock };
    (Embedded::open(settings).unwrap(), dir)
}

async fn store() -> Store {
    let (file, dir) = open();
    Store { ledger: file.clone(), console: file, keep: Box::new(dir) }
}

async fn desk() -> Desk {
    let (file, dir) = open();
    let (unknowns, events) = (file.clone(), file.clone());
    Desk { ledger: file.clone(), console: file, unknowns, events, keep: Box::new(dir) }
}

async fn queue() -> Queue {
    let (file, dir) = open();
    Queue { inbox: file.clone(), outbox: file, keep: Box::new(dir) }
}

async fn source() -> Source {
    let (file, dir) = open();
    Source { lessees: vec![file.clone(), file], keep: Box::new(dir) }
}

async fn document() -> Document {
    let (file, dir) = open();
    Document { replicas: vec![file.clone(), file], keep: Box::new(dir) }
}

mod fleet {
    sluice_testkit::fleet_conformance!(super::document);
}

mod ledger {
    sluice_testkit::ledger_conformance!(super::store);
}

mod lines {
    sluice_testkit::lines_conformance!(super::store);
}

mod queue_cases {
    sluice_testkit::queue_conformance!(super::queue);
}

mod slots {
    sluice_testkit::slots_conformance!(super::source);
}

mod unknowns {
    sluice_testkit::unknowns_conformance!(super::desk);
}
