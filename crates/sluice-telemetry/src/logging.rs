//! Structured logs, as text for people or JSON for machines, on stderr.

use std::borrow::Cow;

use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("log filter does not parse")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// It was started before.
    #[error("logging was started before")]
    Started(#[source] TryInitError),
}

/// Whether a filter parses, before anything is logged.
///
/// # Errors
/// When it does not.
pub fn check_filter(filter: &str) -> Result<(), LoggingError> {
    EnvFilter::try_new(filter).map(drop).map_err(LoggingError::Filter)
}

/// Starts to write log lines that pass `filter` (such as `info` or `sluice_engine=debug,info`) to stderr.
///
/// Whatever the filter says, client libraries that log bodies, addresses or URLs with passwords are kept quiet. lapin is heard
/// only where the filter names it: it logs the end of every connection as an error, asked for or not, and what concerns us its
/// calls answer.
///
/// # Errors
/// When the filter does not parse, or logging runs already.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(without_lapin(filter)).map_err(LoggingError::Filter)?;
    let filter = filter.and(filter_fn(|metadata| !tells_too_much(metadata.target(), *metadata.level())));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(LoggingError::Started)
}

/// The filter with lapin off, unless it says otherwise: what is named later, or more closely, wins.
fn without_lapin(filter: &str) -> Cow<'_, str> {
    // An empty one has a meaning of its own.
    if filter.trim().is_empty() { filter.into() } else { format!("lapin=off,{filter}").into() }
}

/// lapin logs each returned message with its whole body, and at the lower levels its URL with the password and all
/// frames; the HTTP, SMTP and Postgres clients log requests, envelopes and statements there.
fn tells_too_much(target: &str, level: tracing::Level) -> bool {
    const CLIENTS: [&str; 9] = [
        "lapin",
        "amq_protocol",
        "tokio_postgres",
        "hyper",
        "hyper_util",
        "reqwest",
        "h2",
        "lettre",
        "rustls",
    ];
    let of =
        |name: &str| target == name || target.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    of("lapin::returned_messages") || (level > tracing::Level::INFO && CLIENTS.into_iter().any(of))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn lapin_is_heard_only_where_the_filter_names_it() {
        for (filter, hears_lapin, hears_us) in [
            ("info", false, true),
            ("warn,sluice_engine::intake=error", false, true),
            ("info,lapin=warn", true, true),
            ("lapin::channels=error,info", true, true),
            ("lapin=error", true, false),
            ("", true, true),
        ] {
            let registry = tracing_subscriber::registry().with(EnvFilter::new(without_lapin(filter)));
            let heard = tracing::subscriber::with_default(registry, || {
                let of_lapin = tracing::enabled!(target: "lapin::channels", Level::ERROR);
                (of_lapin, tracing::enabled!(target: "sluice_amqp::supervisor", Level::ERROR))
            });
            assert_eq!(heard, (hears_lapin, hears_us), "{filter}");
        }
    }

    #[test]
    fn a_filter_is_checked_as_it_is_used() {
        for (filter, stands) in
            [("info", true), ("", true), ("info,sluice_engine=debgu", false), ("a=b=c", false)]
        {
            assert_eq!(check_filter(filter).is_ok(), stands, "{filter}");
        }
    }

    #[test]
    fn clients_are_kept_from_logging_bodies_and_passwords() {
        assert!(tells_too_much("lapin::returned_messages", Level::WARN));
        assert!(tells_too_much("lapin::connection", Level::DEBUG));
        assert!(tells_too_much("hyper_util::client", Level::TRACE));
        assert!(!tells_too_much("lapin::connection", Level::WARN));
        assert!(!tells_too_much("sluice_engine::lane", Level::TRACE));
    }
}
