//! One connection: URL, TLS, heartbeat, and a bound on every wait.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, RustlsConnector, RustlsConnectorConfig, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};

use crate::error::RabbitError;

/// How to reach the broker.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    trust: Trust,
    timeout: Duration,
}

/// Files of TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Authorities in place of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
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
        trust: Trust,
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
        Ok(Self { uri, trust, timeout })
    }

    /// Connects once. `name` shows in the broker's list of connections.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection, RabbitError> {
        let has_files = self.trust.ca_file.is_some() || self.trust.pair.is_some();
        let own_tls = match self.uri.scheme {
            AMQPScheme::AMQPS if has_files => Some(self.trust.connector().await?),
            AMQPScheme::AMQPS | AMQPScheme::AMQP => None,
        };
        let failed = |error| RabbitError::Connect(Box::new(error));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(failed)?;
        let uri = self.uri.clone();
        within(self.timeout, "connect", async {
            match own_tls {
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

impl Trust {
    /// A TLS client that trusts the authorities of our file and no others, and shows our certificate.
    async fn connector(&self) -> Result<RustlsConnector, RabbitError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| RabbitError::TlsFile { path, source: Arc::new(source) }
        };
        let config = match &self.ca_file {
            Some(path) => {
                let mut config = RustlsConnectorConfig::default();
                config.add_parsable_certificates(certificates(path).await?);
                config
            }
            None => RustlsConnectorConfig::new_with_native_certs()
                .map_err(|error| RabbitError::NoAuthorities(Arc::new(error)))?,
        };
        let built = match &self.pair {
            None => config.connector_with_no_client_auth(),
            Some((certificate, key)) => {
                let pem = tokio::fs::read(key).await.map_err(unreadable(key))?;
                let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(invalid).map_err(unreadable(key))?;
                config.connector_with_single_cert(certificates(certificate).await?, secret)
            }
        };
        let path = self.pair.as_ref().map(|(certificate, _)| certificate).or(self.ca_file.as_ref());
        built.map_err(unreadable(path.map_or(Path::new(""), PathBuf::as_path)))
    }
}

/// The certificates in a PEM file; at least one.
async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RabbitError> {
    let failed = |source| RabbitError::TlsFile { path: path.to_owned(), source: Arc::new(source) };
    let pem = tokio::fs::read(path).await.map_err(failed)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(failed(invalid("there is no certificate in it"))),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(invalid(error))),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
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

/// Closes a channel that is needed no more. One that is merely dropped is closed beside what comes next; when that is the
/// close of the connection, the client library takes the one for a failure of the other.
pub(crate) async fn close_channel(channel: &Channel, timeout: Duration) {
    if channel.status().connected()
        && let Err(error) = call(timeout, "channel.close", channel.close(200, "OK".into())).await
    {
        tracing::debug!(error = &error as &dyn std::error::Error, "channel not closed in order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        let address = |url: &str| {
            Address::new(&url.into(), Trust::default(), Duration::from_secs(10), Duration::from_secs(1))
        };
        for url in ["", "http://host", "not a url", "amqp://[::1]:5672"] {
            assert!(matches!(address(url), Err(RabbitError::Url)), "{url}");
        }
        let good = address("amqp://user:secret@127.0.0.1:5673/%2f").unwrap();
        assert_eq!((good.uri.authority.host.as_str(), good.uri.authority.port), ("127.0.0.1", 5673));
        assert_eq!(good.uri.query.heartbeat, Some(10));
        assert!(!format!("{good:?}").contains("secret"));
    }
}
