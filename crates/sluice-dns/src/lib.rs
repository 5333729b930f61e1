//! Mail exchanges from the DNS: which hosts take a domain's mail, so that limits can be kept per receiving provider.
//!
//! [`MxResolver`] implements [`sluice_engine::MxSource`]; start at `resolver.rs`, which decides from the table, the
//! lookups under way and the name servers' health whether to ask. `client.rs` makes the call and `convert.rs` says,
//! without any IO, what an answer means.
//!
//! The line that matters most: a job never waits for longer than one timeout, and what a name server sends is bounded
//! before it is kept.
//!
//! Not for: which provider a host belongs to, nor the addresses of hosts, nor the delivery of mail.

mod client;
mod convert;
mod error;
mod health;
mod name;
mod resolver;
mod settings;
mod table;

pub use error::ResolverError;
pub use resolver::MxResolver;
pub use settings::MxSettings;
