//! One connection: URL, TLS, heartbeat, and a bound on every wait.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, RustlsConnector, RustlsConnectorConfig, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use crate::error::RabbitError;

/// How to reach the broker.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    ca_file: Option<PathBuf>,
    timeout: Duration,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = &self.uri.authority;
        f.debug_struct("Address")
            .field("host", &authority.host)
            .field("port", &authority.port)
            .finish_non_exhaustive()
    }
}

impl Address {
    pub(crate) fn new(
        url: &SecretString,
        ca_file: Option<PathBuf>,
        heartbeat: Duration,
        timeout: Duration,
    ) -> Result<Self, RabbitError> {
        let text = url.expose_secret();
        // The parser takes an IPv6 literal for "no host" and would connect to localhost instead.
        if text.contains('[') {
            return Err(RabbitError::Url);
        }
        let mut uri: AMQPUri = text.parse().map_err(|_| RabbitError::Url)?;
        uri.query.heartbeat = Some(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
        Ok(Self { uri, ca_file, timeout })
    }

    /// Connects once. `name` shows in the broker's list of connections.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection, RabbitError> {
        let own_authorities = match &self.ca_file {
            Some(path) if self.uri.scheme == AMQPScheme::AMQPS => Some(trusting(path).await?),
            Some(_) | None => None,
        };
        let failed = |error| RabbitError::Connect(Box::new(error));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(failed)?;
        let uri = self.uri.clone();
        within(self.timeout, "connect", async {
            match own_authorities {
                Some(tls) => {
                    let connect = async move |uri: AMQPUri, runtime| {
                        let host = uri.authority.host.clone();
                        let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri };
                        let stream = plain.connect_with_config_async(TLSConfig::default(), &runtime).await?;
                        Ok(stream.into_rustls(&tls, &host).await?)
                    };
                    Box::pin(Connection::connector(uri, runtime, connect, properties)).await
                }
                None => Box::pin(Connection::connect_uri_with_runtime(uri, properties, runtime)).await,
            }
            .map_err(failed)
        })
        .await
    }
}

/// A TLS client that trusts the authorities in `path`, and no others.
async fn trusting(path: &Path) -> Result<RustlsConnector, RabbitError> {
    let failed = |source| RabbitError::CaFile { path: path.to_owned(), source: Arc::new(source) };
    let pem = tokio::fs::read(path).await.map_err(failed)?;
    let authorities = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    let mut config = RustlsConnectorConfig::default();
    config.add_parsable_certificates(authorities);
    config.connector_with_no_client_auth().map_err(failed)
}

/// Waits for the broker, but not for ever.
pub(crate) async fn within<T>(
    timeout: Duration,
    step: &'static str,
    call: impl Future<Output = Result<T, RabbitError>>,
) -> Result<T, RabbitError> {
    tokio::time::timeout(timeout, call).await.unwrap_or(Err(RabbitError::Timeout(step)))
}

/// As [`within`], for a plain call.
pub(crate) async fn call<T>(
    timeout: Duration,
    step: &'static str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, RabbitError> {
    within(timeout, step, async { call.await.map_err(|source| RabbitError::call(step, source)) }).await
}

/// A channel of `connection`.
pub(crate) async fn open_channel(connection: &Connection, timeout: Duration) -> Result<Channel, RabbitError> {
    call(timeout, "channel.open", connection.create_channel()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        let address =
            |url: &str| Address::new(&url.into(), None, Duration::from_secs(10), Duration::from_secs(1));
        for url in ["", "http://host", "not a url", "amqp://[::1]:5672"] {
            assert!(matches!(address(url), Err(RabbitError::Url)), "{url}");
        }
        let good = address("amqp://user:secret@127.0.0.1:5673/%2f").unwrap();
        assert_eq!((good.uri.authority.host.as_str(), good.uri.authority.port), ("127.0.0.1", 5673));
        assert_eq!(good.uri.query.heartbeat, Some(10));
        assert!(!format!("{good:?}").contains("secret"));
    }
}
