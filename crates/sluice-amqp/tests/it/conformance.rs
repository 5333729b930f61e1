//! The cases that every adapter must pass.

use std::sync::Arc;

use sluice_testkit::conformance::queue::Queue;
use sluice_testkit::services::shared_rabbitmq;

use crate::rig::client;

async fn queue() -> Queue {
    let rabbit = Arc::new(client(&shared_rabbitmq().create_vhost()).await);
    Queue { inbox: rabbit.clone(), outbox: rabbit, keep: Box::new(()) }
}

sluice_testkit::queue_conformance!(queue);
