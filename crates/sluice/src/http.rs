//! The HTTP side of `sluice run`: bound before anything else, so that probes have an answer from the first moment.

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use sluice_config::{Config, Scope};
use sluice_engine::{Bounces, Breakers, Engine, Health, Intake, Overview};
use sluice_http::{Access, AppState, HttpServer, InFlight, Limits, Tls, Token};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::SettingsError;
use crate::wiring::Outside;

/// The server while it runs.
#[derive(Debug)]
pub(crate) struct Http {
    draining: CancellationToken,
    stop: CancellationToken,
    engine: Arc<OnceLock<Engine>>,
    served: JoinHandle<()>,
    tls: Option<Tls>,
}

impl Http {
    /// Binds and serves, if the configuration says where; `engine` may be set later.
    pub(crate) async fn start(
        config: &Config,
        outside: &Outside,
        health: &Arc<Health>,
        bounces: &Arc<Bounces>,
        breakers: Option<Arc<Breakers>>,
        engine: &Arc<OnceLock<Engine>>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(addr) = config.http.listen else { return Ok(None) };
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let counted = Arc::clone(engine);
        let state = AppState {
            intake: Intake::new(
                Arc::clone(&outside.plan),
                Arc::clone(&outside.outbox),
                Arc::clone(&outside.console),
            ),
            console: Arc::clone(&outside.console),
            events: Arc::clone(&outside.events),
            bounces: Arc::clone(bounces),
            webhooks: crate::wiring::webhooks(config)?.into(),
            overview: Overview::new(
                Arc::clone(&outside.plan),
                Arc::clone(&outside.fleet),
                Arc::clone(&outside.slot_source),
                Arc::clone(&outside.ledger),
            ),
            health: Arc::clone(health),
            metrics: Arc::clone(&outside.metrics),
            breakers,
            in_flight: InFlight::new(move || counted.get().map_or(0, Engine::in_flight)),
            draining: draining.clone(),
            access: access(config),
            clock: Arc::clone(&outside.clock),
            started: outside.clock.tick(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let limits = Limits {
            body_max_bytes: config.http.body_max_bytes,
            max_connections: config.http.max_connections,
            ..Limits::default()
        };
        let files = config.http.tls_cert_file.as_deref().zip(config.http.tls_key_file.as_deref());
        let tls = files.map(|(certificate, key)| Tls::read(certificate, key)).transpose();
        let tls = tls.map_err(|error| SettingsError::unusable("http.tls_cert_file", error))?;
        let mut bound = HttpServer::bind(addr, state, limits).await.context("http.listen")?;
        if let Some(tls) = &tls {
            bound = bound.with_tls(tls.clone());
        }
        tracing::info!(addr = %bound.local_addr(), tls = tls.is_some(), "HTTP listens");
        let served = TaskTracker::new().spawn(bound.serve(stop.clone()));
        Ok(Some(Self { draining, stop, engine: Arc::clone(engine), served, tls }))
    }

    /// From now on `/ready` says that this process drains.
    pub(crate) fn draining(&self) {
        self.draining.cancel();
    }

    /// Reads the certificate of HTTPS again, where there is one; one that cannot be used changes nothing.
    pub(crate) fn reread_certificate(&self) {
        match self.tls.as_ref().map(Tls::reload) {
            None => {}
            Some(Ok(())) => tracing::info!("SIGHUP: the certificate of HTTPS was read again"),
            Some(Err(error)) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "SIGHUP: the certificate of HTTPS cannot be used, it stays as it was");
            }
        }
    }

    /// Answers what is under way and ends.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.served.await {
            tracing::warn!(%error, "the HTTP server ended badly");
        }
        drop(self.engine);
    }
}

/// On the loopback, or when the configuration says so, no token is needed.
fn access(config: &Config) -> Access {
    if config.http.tokens.is_empty() {
        return if config.http.allow_unauthenticated { Access::Open } else { Access::Local };
    }
    let tokens = config.http.tokens.iter().map(|token| Token {
        name: token.name.clone(),
        sha256: *token.sha256.as_bytes(),
        scopes: token
            .scopes
            .iter()
            .map(|scope| match scope {
                Scope::Publish => sluice_http::Scope::Publish,
                Scope::Read => sluice_http::Scope::Read,
                Scope::Operate => sluice_http::Scope::Operate,
            })
            .collect(),
    });
    Access::Tokens(tokens.collect())
}
