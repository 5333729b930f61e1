//! One file per command.

pub(crate) mod ask;
pub(crate) mod campaign;
pub(crate) mod check_config;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod enqueue;
pub(crate) mod esp;
pub(crate) mod limits;
pub(crate) mod lines;
pub(crate) mod migrate;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod span;
pub(crate) mod status;
pub(crate) mod suppress;
pub(crate) mod taste;
pub(crate) mod unknown;
pub(crate) mod why;
