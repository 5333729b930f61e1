//! One server a test binary, started by the first test that asks.

use std::sync::OnceLock;

use super::{PrivatePostgres, PrivateRabbitMq};

static POSTGRES: OnceLock<PrivatePostgres> = OnceLock::new();
static RABBITMQ: OnceLock<PrivateRabbitMq> = OnceLock::new();

/// The Postgres all tests of this process share; take a database of your own with
/// [`create_database`](PrivatePostgres::create_database), and do not stop or pause it.
///
/// # Panics
/// As [`PrivatePostgres::start`].
pub fn shared_postgres() -> &'static PrivatePostgres {
    POSTGRES.get_or_init(PrivatePostgres::start)
}

/// The RabbitMQ all tests of this process share; take a vhost of your own with
/// [`create_vhost`](PrivateRabbitMq::create_vhost), and do not stop or pause it.
///
/// # Panics
/// As [`PrivateRabbitMq::start`].
pub fn shared_rabbitmq() -> &'static PrivateRabbitMq {
    RABBITMQ.get_or_init(PrivateRabbitMq::start)
}
