//! From a configuration to ports: which adapter stands behind each.

mod depths;
mod undialled;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;
use sluice_amqp::{Rabbit, RabbitError, RabbitSettings, TopologyPlan};
use sluice_config::{Config, EspConfig, EspKind, HttpVersion, QueueKind, StoreKind};
use sluice_dns::{MxResolver, MxSettings};
use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::{
    Breakers, Clock, Console, Esp, Events, Fleet, Health, Inbox, Ledger, LivePlan, MxSource, Outbox, Parts,
    Plan, Roles, SlotSource, SystemClock, Telling, Unknowns, Webhook,
};
use sluice_esp::{
    SandboxEsp, SandboxSettings, SendGridEsp, SendGridSettings, SendGridWebhook, SendGridWebhookSettings,
    SmtpEsp, SmtpSettings,
};
use sluice_postgres::{MigrateError, Postgres, PostgresSettings};
use sluice_telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::settings::SettingsError;
use crate::taster::ChildTaster;
use undialled::Undialled;

/// Timeout of one exchange with the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// The outside systems behind the ports.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// This process's name: unique among all that ever were.
    pub(crate) name: String,
    pub(crate) plan: Arc<LivePlan>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) slot_source: Arc<dyn SlotSource>,
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) console: Arc<dyn Console>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) unknowns: Arc<dyn Unknowns>,
    /// Whether upstream services are told of final states.
    results: bool,
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Embedded(Arc<Embedded>),
    Servers {
        rabbit: Arc<Rabbit>,
        postgres: Postgres,
    },
    /// The store alone.
    Store(Postgres),
}

/// Who opens the systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// A worker: on the embedded default there is one.
    Worker,
    /// A command that asks or publishes beside it.
    Client,
    /// A command that counts what is in the queue, by a configuration that may be an old one: it declares nothing.
    Bystander,
    /// A command that asks the store alone: the broker is not dialled, and may be away.
    StoreClient,
}

impl Outside {
    /// Opens the queue and the store. Servers that are away are tried again in the background; what is written wrong
    /// is a [`SettingsError`].
    pub(crate) fn open(config: &Config, opener: Opener) -> anyhow::Result<Self> {
        let plan = Arc::new(Plan::of(config));
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).context("metrics")?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let name = process_name();
        match (config.queue.kind, config.store.kind) {
            (QueueKind::Embedded, _) | (_, StoreKind::Embedded) => {
                let embedded = open_embedded(&config.store.path, opener, &name, &clock)?;
                Ok(Self {
                    inbox: embedded.clone(),
                    outbox: embedded.clone(),
                    ledger: embedded.clone(),
                    slot_source: embedded.clone(),
                    fleet: embedded.clone(),
                    console: embedded.clone(),
                    events: embedded.clone(),
                    unknowns: embedded.clone(),
                    results: false,
                    behind: Behind::Embedded(embedded),
                    clock,
                    metrics,
                    plan: Arc::new(LivePlan::new(plan)),
                    name,
                })
            }
            (QueueKind::Rabbitmq, StoreKind::Postgres) => {
                let postgres = open_postgres(config, &name)?;
                let (inbox, outbox, behind): (Arc<dyn Inbox>, Arc<dyn Outbox>, _) = match opener {
                    Opener::Worker | Opener::Client | Opener::Bystander => {
                        let is_bystander = opener == Opener::Bystander;
                        let rabbit = Arc::new(open_rabbit(config, &plan, &name, is_bystander, &metrics)?);
                        let behind = Behind::Servers { rabbit: rabbit.clone(), postgres: postgres.clone() };
                        (rabbit.clone(), rabbit, behind)
                    }
                    Opener::StoreClient => {
                        (Arc::new(Undialled), Arc::new(Undialled), Behind::Store(postgres.clone()))
                    }
                };
                Ok(Self {
                    inbox,
                    outbox,
                    ledger: Arc::new(postgres.clone()),
                    slot_source: Arc::new(postgres.clone()),
                    fleet: Arc::new(postgres.clone()),
                    console: Arc::new(postgres.clone()),
                    events: Arc::new(postgres.clone()),
                    unknowns: Arc::new(postgres.clone()),
                    results: config.queue.results,
                    behind,
                    clock,
                    metrics,
                    plan: Arc::new(LivePlan::new(plan)),
                    name,
                })
            }
        }
    }

    /// The Postgres store, where it is one.
    pub(crate) const fn postgres(&self) -> Option<&Postgres> {
        match &self.behind {
            Behind::Embedded(_) => None,
            Behind::Servers { postgres, .. } | Behind::Store(postgres) => Some(postgres),
        }
    }

    /// Brings the schema up to date, with results kept or not; answers how many migrations were new.
    pub(crate) async fn migrate(&self, postgres: &Postgres) -> Result<usize, MigrateError> {
        let applied = postgres.migrate().await?;
        postgres.keep_results(self.results).await?;
        Ok(applied)
    }

    /// Looks whether the schema is as this process needs it, without touching it.
    pub(crate) async fn check_schema(&self, postgres: &Postgres) -> Result<(), MigrateError> {
        postgres.check_schema().await?;
        if self.results && !postgres.keeps_results().await? {
            return Err(MigrateError::ResultsOff);
        }
        Ok(())
    }

    /// Waits until the broker can be published to, and learns which domains have side lanes.
    pub(crate) async fn broker_ready(&self, timeout: Duration) -> anyhow::Result<()> {
        match &self.behind {
            Behind::Embedded(_) => Ok(()),
            Behind::Store(_) => anyhow::bail!("the broker was not dialled"),
            Behind::Servers { rabbit, .. } => {
                rabbit.ready(timeout).await.context("RabbitMQ")?;
                if let Err(error) = self.learn_sides().await {
                    tracing::warn!(error = %format!("{error:#}"), "without side lanes: domains share a lane");
                }
                Ok(())
            }
        }
    }

    async fn learn_sides(&self) -> anyhow::Result<()> {
        let sides = self.fleet.look().await?.sides;
        if self.inbox.has_sides() && !sides.is_empty() {
            self.inbox.sort(&sides).await?;
            self.plan.set_sides(&Arc::new(sides));
        }
        Ok(())
    }

    /// What the broker says of us now; `None` where there is none.
    pub(crate) async fn broker_refusal(&self) -> Option<Result<(), RabbitError>> {
        match &self.behind {
            Behind::Embedded(_) | Behind::Store(_) => None,
            Behind::Servers { rabbit, .. } => Some(rabbit.ready(BROKER_TIMEOUT).await),
        }
    }

    /// What an engine on these systems is made of.
    pub(crate) fn parts(
        &self,
        config: &Config,
        roles: Roles,
        breakers: &Arc<Breakers>,
        health: &Arc<Health>,
    ) -> anyhow::Result<Parts> {
        Ok(Parts {
            plan: Arc::clone(&self.plan),
            roles,
            clock: Arc::clone(&self.clock),
            inbox: Arc::clone(&self.inbox),
            outbox: Arc::clone(&self.outbox),
            ledger: Arc::clone(&self.ledger),
            slot_source: Arc::clone(&self.slot_source),
            fleet: Arc::clone(&self.fleet),
            replica: self.name.clone(),
            mx: mx(config, &self.clock)?,
            taster: Some(Arc::new(ChildTaster::default())),
            telling: self.telling(),
            esps: esps(config, &self.clock)?,
            breakers: Arc::clone(breakers),
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(health),
        })
    }

    fn telling(&self) -> Option<Telling> {
        match &self.behind {
            Behind::Servers { rabbit, postgres } if self.results => {
                Some(Telling { results: Arc::new(postgres.clone()), herald: Arc::<Rabbit>::clone(rabbit) })
            }
            Behind::Embedded(_) | Behind::Servers { .. } | Behind::Store(_) => None,
        }
    }

    /// A closed breaker for each ESP.
    pub(crate) fn breakers(&self) -> Arc<Breakers> {
        Arc::new(Breakers::new(&self.plan.get(), Arc::clone(&self.clock), Arc::clone(&self.metrics)))
    }

    /// Declares the lanes of another plan: now, or when the broker is back.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) async fn redeclare(&self, plan: &Plan) -> anyhow::Result<()> {
        match &self.behind {
            Behind::Embedded(_) | Behind::Store(_) => Ok(()),
            Behind::Servers { rabbit, .. } => match rabbit.redeclare(&topology(plan, self.results)).await {
                Err(error) if !error.is_refusal() => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "lanes are declared when the broker is back"
                    );
                    Ok(())
                }
                declared => declared.context("RabbitMQ"),
            },
        }
    }

    /// Flushes acks and confirms, then closes the connections.
    pub(crate) async fn close(&self) {
        match &self.behind {
            Behind::Embedded(embedded) => embedded.close().await,
            Behind::Servers { rabbit, postgres } => {
                rabbit.close().await;
                postgres.close();
            }
            Behind::Store(postgres) => postgres.close(),
        }
    }
}

/// A name that no other process has, now or later: the host for people, a UUID for the ledger.
fn process_name() -> String {
    let host = crate::environment::variable("HOSTNAME").unwrap_or_else(|| "worker".to_owned());
    format!("{host}-{}", uuid::Uuid::now_v7().simple())
}

fn open_embedded(
    path: &Path,
    opener: Opener,
    name: &str,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Embedded>> {
    let opened = match opener {
        Opener::Worker => Embedded::open(EmbeddedSettings {
            path: path.to_owned(),
            worker: name.to_owned(),
            clock: Arc::clone(clock),
        }),
        Opener::Client | Opener::Bystander | Opener::StoreClient => Embedded::open_client(path),
    };
    opened.with_context(|| format!("cannot open {}", path.display()))
}

fn open_rabbit(
    config: &Config,
    plan: &Plan,
    name: &str,
    bystander: bool,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Rabbit> {
    let settings = RabbitSettings {
        url: secret(config.queue.url.as_ref(), "queue.url")?,
        tls_ca_file: config.queue.tls_ca_file.clone(),
        tls_pair: config.queue.tls_cert_file.clone().zip(config.queue.tls_key_file.clone()),
        heartbeat: config.queue.heartbeat,
        timeout: BROKER_TIMEOUT,
        delivery_limit: config.queue.delivery_limit,
        topology: topology(plan, config.queue.results),
        declare: config.queue.declare,
        bystander,
        name: name.to_owned(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    Ok(Rabbit::start(settings, Arc::clone(metrics))
        .map_err(|error| SettingsError::unusable("queue", error))?)
}

fn open_postgres(config: &Config, name: &str) -> anyhow::Result<Postgres> {
    let mut settings = PostgresSettings::new(secret(config.store.url.as_ref(), "store.url")?, name);
    settings.tls_ca_file.clone_from(&config.store.tls_ca_file);
    settings.tls_pair = config.store.tls_cert_file.clone().zip(config.store.tls_key_file.clone());
    // Claims and records have as many tasks each as the configuration names writers.
    settings.writers = usize::from(config.store.writers) * 2 + 1;
    settings.pool_size = usize::from(config.store.pool_size);
    Ok(Postgres::connect(settings).map_err(|error| SettingsError::unusable("store", error))?)
}

fn topology(plan: &Plan, results: bool) -> TopologyPlan {
    // Side lanes are told later, once the fleet has been asked.
    let sides = BTreeMap::new();
    TopologyPlan { pools: plan.pools().cloned().collect(), groups: plan.groups(), sides, results }
}

fn secret(url: Option<&SecretString>, key: &str) -> anyhow::Result<SecretString> {
    url.cloned().with_context(|| format!("{key} is missing"))
}

/// What looks mail exchanges up, unless that is switched off.
fn mx(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<dyn MxSource>>> {
    if !config.mx.enabled {
        return Ok(None);
    }
    let settings = MxSettings {
        servers: config.mx.servers.clone(),
        timeout: config.mx.timeout,
        table_max: usize::try_from(config.mx.table).unwrap_or(usize::MAX),
        ..MxSettings::new(Arc::clone(clock))
    };
    match MxResolver::new(settings) {
        Ok(resolver) => Ok(Some(Arc::new(resolver))),
        // Asked for by name it must work; else mail is worth more than the grouping of hosted domains.
        Err(error) if config.mx.servers.is_empty() => {
            tracing::warn!(error = %format!("{:#}", anyhow::Error::from(error)), "no name servers: domains are grouped by name alone");
            Ok(None)
        }
        Err(error) => Err(SettingsError::unusable("mx.servers", error).into()),
    }
}

/// The ESP clients of a configuration.
fn esps(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn Esp>>> {
    config
        .esps
        .iter()
        .map(|esp| {
            let unusable = |error: anyhow::Error| SettingsError::unusable(format!("esp {}", esp.name), error);
            Ok(open_esp(esp, Arc::clone(clock)).map_err(unusable)?)
        })
        .collect()
}

fn open_esp(esp: &EspConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Esp>> {
    let id = esp.name.clone();
    Ok(match esp.kind {
        EspKind::Smtp => Arc::new(SmtpEsp::new(
            &SmtpSettings {
                id,
                url: secret(esp.url.as_ref(), "url")?,
                tls_ca_file: esp.tls_ca_file.clone(),
                hello_name: esp.hello_name.clone(),
                timeout: esp.timeout,
                max_connections: esp.max_in_flight,
            },
            clock,
        )?),
        EspKind::Sendgrid => Arc::new(SendGridEsp::new(
            &SendGridSettings {
                id,
                base_url: esp.base_url.clone().unwrap_or_else(|| sluice_esp::SENDGRID_BASE_URL.to_owned()),
                allow_plain_http: esp.allow_plain_http,
                api_key: secret(esp.api_key.as_ref(), "api_key")?,
                http_version: match esp.http_version {
                    HttpVersion::Auto => sluice_esp::HttpVersion::Auto,
                    HttpVersion::Http1 => sluice_esp::HttpVersion::Http1,
                    HttpVersion::Http2 => sluice_esp::HttpVersion::Http2,
                },
                timeout: esp.timeout,
                tls_ca_file: esp.tls_ca_file.clone(),
            },
            clock,
        )?),
        EspKind::Sandbox => Arc::new(SandboxEsp::new(
            &SandboxSettings {
                id,
                latency: esp.sandbox.latency,
                journal: esp.sandbox.journal.clone(),
                fail_from: esp.sandbox.fail_from,
                fail_count: esp.sandbox.fail_count,
                idempotent: esp.sandbox.idempotent,
            },
            clock,
        )?),
        EspKind::Ses
        | EspKind::Mailgun
        | EspKind::Postmark
        | EspKind::Resend
        | EspKind::Sparkpost
        | EspKind::Brevo
        | EspKind::Mailjet => anyhow::bail!("kind `{}` is not available in this version", esp.kind.as_str()),
    })
}

/// The webhooks that a configuration switches on.
pub(crate) fn webhooks(config: &Config) -> anyhow::Result<Vec<Arc<dyn Webhook>>> {
    config
        .esps
        .iter()
        .filter(|esp| esp.takes_webhooks())
        .map(|esp| {
            let unusable = |error: anyhow::Error| SettingsError::unusable(format!("esp {}", esp.name), error);
            Ok(open_webhook(esp).map_err(unusable)?)
        })
        .collect()
}

/// One line for each kind that reports by webhook.
fn open_webhook(esp: &EspConfig) -> anyhow::Result<Arc<dyn Webhook>> {
    Ok(match esp.kind {
        EspKind::Sendgrid => Arc::new(SendGridWebhook::new(&SendGridWebhookSettings {
            id: esp.name.clone(),
            public_key: esp.webhook_public_key.clone(),
            max_age: esp.webhook_max_age,
        })?),
        EspKind::Smtp
        | EspKind::Sandbox
        | EspKind::Ses
        | EspKind::Mailgun
        | EspKind::Postmark
        | EspKind::Resend
        | EspKind::Sparkpost
        | EspKind::Brevo
        | EspKind::Mailjet => anyhow::bail!("kind `{}` has no webhook in this version", esp.kind.as_str()),
    })
}
