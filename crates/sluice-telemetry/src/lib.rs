//! Every metric name and log event of Sluice, and the redaction of addresses.
//!
//! Metrics are facts of one process, `sluice_*`, with labels from closed lists only: ESPs, lanes, outcomes and
//! reasons that the configuration or an enum names; never a domain, tenant, campaign, job or address.

mod logging;
mod metrics;

pub use logging::{LogFormat, LoggingError, check_filter, start_logging};
pub use metrics::{Batch, Dependency, Metrics, MetricsError};
