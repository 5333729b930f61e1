//! The cases that every adapter must pass.

use std::sync::Arc;

use sluice_engine::{Fleet, SlotSource};
use sluice_testkit::conformance::{fleet::Document, slots::Source, store::Store, unknowns::Desk};

use crate::fixture::Fixture;

async fn store() -> Store {
    let fixture = Fixture::new().await;
    let worker = Arc::new(fixture.worker("worker"));
    Store { ledger: worker.clone(), console: worker, keep: Box::new(()) }
}

async fn desk() -> Desk {
    let fixture = Fixture::new().await;
    let worker = Arc::new(fixture.worker("worker"));
    let (unknowns, events) = (worker.clone(), worker.clone());
    Desk { ledger: worker.clone(), console: worker, unknowns, events, keep: Box::new(()) }
}

async fn source() -> Source {
    let fixture = Fixture::new().await;
    let lessees = ["one", "two", "three"].map(|name| Arc::new(fixture.worker(name)) as Arc<dyn SlotSource>);
    Source { lessees: lessees.into(), keep: Box::new(()) }
}

async fn document() -> Document {
    let fixture = Fixture::new().await;
    let replicas = ["one", "two", "three"].map(|name| Arc::new(fixture.worker(name)) as Arc<dyn Fleet>);
    Document { replicas: replicas.into(), keep: Box::new(()) }
}

mod ledger {
    sluice_testkit::ledger_conformance!(super::store);
}

mod lines {
    sluice_testkit::lines_conformance!(super::store);
}

mod slots {
    sluice_testkit::slots_conformance!(super::source);
}

mod fleet {
    sluice_testkit::fleet_conformance!(super::document);
}

mod unknowns {
    sluice_testkit::unknowns_conformance!(super::desk);
}
