//! The configuration of Sluice: its schema, its defaults, and the check of text handed to it.
//!
//! Pure: text in, a checked [`Config`] or every fault of it out. No file and no environment is read here; the binary
//! hands in both. Start at [`Config::load`].

mod brake;
mod breaker;
mod config;
mod duration;
mod esp;
mod fault;
mod fleet_digest;
mod group;
mod http;
mod key_pair;
mod limits;
mod log;
mod mx;
mod overlay;
mod pool;
mod queue;
mod reader;
mod relay;
mod restart;
mod retention;
mod retry;
mod sandbox;
mod schema;
mod smtp_url;
mod store;
mod tenant;
mod token;
mod unknown;
mod warmup;
mod web_url;
mod worker;

pub use brake::Brake;
pub use breaker::Breaker;
pub use config::Config;
pub use duration::{DurationText, DurationTextError};
pub use esp::{EspConfig, EspKind, HttpVersion};
pub use fault::{ConfigFault, ConfigFaults};
pub use group::GroupConfig;
pub use http::Http;
pub use log::{Log, LogFormat};
pub use mx::Mx;
pub use overlay::VARIABLE_PREFIX;
pub use pool::{Member, PoolConfig, Sticky};
pub use queue::{Queue, QueueKind};
pub use relay::Relay;
pub use retention::Retention;
pub use retry::{Retry, RetrySchedule};
pub use sandbox::Sandbox;
pub use schema::json_schema;
pub use smtp_url::{SmtpTls, SmtpUrl, SmtpUrlError};
pub use store::{Store, StoreKind};
pub use tenant::TenantConfig;
pub use token::{HttpToken, Scope, TokenDigest};
pub use unknown::{UnknownAction, UnknownPolicy};
pub use warmup::{Ramp, Warmup};
pub use worker::Worker;
