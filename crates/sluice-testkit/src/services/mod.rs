//! Real servers and processes for tests: private, on free loopback ports, gone when the test process is gone.
//!
//! Start at [`shared_postgres`] and [`shared_rabbitmq`] (one server a test binary, a database and a vhost a test).
//! A test that kills or pauses a server starts its own [`PrivatePostgres`] or [`PrivateRabbitMq`].
//! [`SluiceProcess`] runs the real binary, [`TcpProxy`] sits on a line and cuts it.
//!
//! A service that is missing fails the test, with a message that says how to get it. Nothing here skips.
#![expect(
    clippy::disallowed_methods,
    reason = "real servers run in real time and are found through the environment"
)]
#![expect(clippy::panic, reason = "a missing or broken service has to fail the test that asks for it")]

mod account;
mod binaries;
mod guarded_child;
mod leaks;
mod log_file;
mod ports;
mod postgres;
mod process_tree;
mod rabbitmq;
mod rabbitmq_control;
mod scratch_dir;
mod shared;
mod sluice_process;
mod tcp_proxy;
mod watchdog;

pub use postgres::PrivatePostgres;
pub use rabbitmq::PrivateRabbitMq;
pub use shared::{shared_postgres, shared_rabbitmq};
pub use sluice_process::{SluiceCommand, SluiceProcess, sluice_binary};
pub use tcp_proxy::TcpProxy;

pub(crate) use binaries::on_path;
pub(crate) use guarded_child::{GuardedChild, Program};
pub(crate) use log_file::tail as log_tail;
pub(crate) use scratch_dir::ScratchDir;
