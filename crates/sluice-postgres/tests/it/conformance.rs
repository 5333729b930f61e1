//! The cases that every adapter must pass.

use std::sync::Arc;

use sluice_engine::SlotSource;
use sluice_testkit::conformance::{ledger::Store, slots::Source};

use crate::fixture::Fixture;

async fn store() -> Store {
    let fixture = Fixture::new().await;
    let worker = Arc::new(fixture.worker("worker"));
    Store { ledger: worker.clone(), console: worker, keep: Box::new(()) }
}

async fn source() -> Source {
    let fixture = Fixture::new().await;
    let lessees = ["one", "two", "three"].map(|name| Arc::new(fixture.worker(name)) as Arc<dyn SlotSource>);
    Source { lessees: lessees.into(), keep: Box::new(()) }
}

mod ledger {
    sluice_testkit::ledger_conformance!(super::store);
}

mod slots {
    sluice_testkit::slots_conformance!(super::source);
}
