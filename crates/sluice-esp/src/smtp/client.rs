//! The calls to one relay, over a small pool of connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use sluice_engine::{Answer, Clock, Esp, ReadyCall, WrittenCall};
use sluice_types::{Category, DeferralScope, EspId, Job, Outcome};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::convert::{Loss, Phase, lost, queue_id, refused};
use super::message::{self, Letter};
use super::session::{Dialer, Session, Trouble};
use super::settings::{self, Relay, SmtpSettings};
use super::throttle;
use crate::SettingsError;
use crate::tls::{self, CaFile};

/// Messages over one connection; many servers close it after about as many (KumoMTA's default is 100).
const MESSAGES_PER_CONNECTION: u32 = 100;
/// Idle connections are closed after this; servers may after 5 minutes (RFC 5321 section 4.5.3.2.7), many do sooner.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A goodbye is a courtesy.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// One SMTP relay.
pub struct SmtpEsp {
    id: EspId,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    dialer: Dialer,
    permits: Semaphore,
    /// Idle connections, the latest used last.
    idle: Mutex<Vec<Session>>,
}

impl std::fmt::Debug for SmtpEsp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpEsp").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SmtpEsp {
    /// Checks `settings`. Connects only when there is something to send.
    ///
    /// # Errors
    /// When a setting breaks a rule or the file of `tls_ca_file` cannot be used.
    pub fn new(settings: &SmtpSettings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let esp = &settings.id;
        let invalid = |field, problem| SettingsError::Invalid { esp: esp.clone(), field, problem };
        let relay = Relay::parse(settings)?;
        if settings.timeout.is_zero() {
            return Err(invalid("timeout", "must be longer than zero"));
        }
        let connections = usize::try_from(settings.max_connections).unwrap_or(usize::MAX);
        if connections == 0 || connections > Semaphore::MAX_PERMITS {
            return Err(invalid("max_connections", "must be at least 1"));
        }
        let name = ServerName::try_from(relay.host.clone())
            .map_err(|_| invalid("url", "has a host name that TLS cannot check"))?;
        let ca = settings.tls_ca_file.as_deref().map(|path| CaFile::read(esp, path)).transpose()?;
        let dialer = Dialer {
            hello: settings::hello(settings)?,
            name,
            trust: Arc::new(tls::client_config(esp, ca.as_ref())?),
            relay,
        };
        Ok(Self {
            id: esp.clone(),
            timeout: settings.timeout,
            clock,
            dialer,
            permits: Semaphore::new(connections),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Says goodbye on every idle connection. Sending opens new ones.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for session in idle {
            quit(session).await;
        }
    }

    /// One message over a connection that waited, or over a new one when it turns out to be gone. Answers the connection too
    /// if it can be used again.
    async fn exchange(
        &self,
        session: Session,
        letter: &Letter,
        phase: &mut Phase,
    ) -> (Outcome, Option<Session>) {
        let is_new = session.used == 0;
        match over(session, letter, phase).await {
            Ok((outcome, session)) => return (outcome, Some(session)),
            Err(trouble) if *phase < Phase::Data && is_gone(&trouble, *phase, is_new) => {}
            Err(trouble) => return (failed(*phase, &trouble), None),
        }
        let session = match self.dialer.open(phase).await {
            Ok(session) => session,
            Err(trouble) => return (failed(*phase, &trouble), None),
        };
        match over(session, letter, phase).await {
            Ok((outcome, session)) => (outcome, Some(session)),
            Err(trouble) => (failed(*phase, &trouble), None),
        }
    }

    fn take_idle(&self) -> Option<Session> {
        let now = self.clock.tick();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|session| now.since(session.idle_since) < IDLE_MAX);
        idle.pop()
    }

    async fn put_back(&self, mut session: Session) {
        if session.used >= MESSAGES_PER_CONNECTION {
            return quit(session).await;
        }
        session.idle_since = self.clock.tick();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

#[async_trait]
impl Esp for SmtpEsp {
    fn id(&self) -> &EspId {
        &self.id
    }

    fn write(&self, job: &Job, _attempt: u32) -> Result<Box<dyn WrittenCall<'_> + '_>, Answer> {
        match message::build(job, self.clock.now()) {
            Ok(letter) => Ok(Box::new(SmtpWritten { esp: self, letter })),
            Err(error) => {
                let detail = error.to_string();
                Err(Outcome::Rejected { category: Category::Content, detail }.into())
            }
        }
    }
}

/// A message.
struct SmtpWritten<'e> {
    esp: &'e SmtpEsp,
    letter: Letter,
}

#[async_trait]
impl<'e> WrittenCall<'e> for SmtpWritten<'e> {
    async fn ready(self: Box<Self>) -> Result<Box<dyn ReadyCall + 'e>, Answer> {
        let Self { esp, letter } = *self;
        let deadline = Instant::now() + esp.timeout;
        let Ok(Ok(permit)) = timeout_at(deadline, esp.permits.acquire()).await else {
            return Err(Outcome::Deferred {
                retry_after: None,
                scope: DeferralScope::Esp,
                // Ours, and no reply of the server that asks us to slow down.
                category: Category::Temporary,
                detail: "every connection was busy for the whole timeout".to_owned(),
            }
            .into());
        };
        let mut phase = Phase::Connect;
        let session = match esp.take_idle() {
            Some(session) => session,
            None => match timeout_at(deadline, esp.dialer.open(&mut phase)).await {
                Ok(Ok(session)) => session,
                Ok(Err(trouble)) => return Err(failed(phase, &trouble).into()),
                Err(_) => return Err(lost(phase, &Loss::Timeout).into()),
            },
        };
        Ok(Box::new(SmtpCall { esp, letter, session, _permit: permit }))
    }
}

/// A message, and the connection that it goes over.
struct SmtpCall<'e> {
    esp: &'e SmtpEsp,
    letter: Letter,
    session: Session,
    _permit: SemaphorePermit<'e>,
}

#[async_trait]
impl ReadyCall for SmtpCall<'_> {
    async fn make(self: Box<Self>) -> Answer {
        let Self { esp, letter, session, _permit } = *self;
        let deadline = Instant::now() + esp.timeout;
        let mut phase = Phase::Mail;
        match timeout_at(deadline, esp.exchange(session, &letter, &mut phase)).await {
            Ok((outcome, session)) => {
                if let Some(session) = session {
                    esp.put_back(session).await;
                }
                outcome.into()
            }
            Err(_) => lost(phase, &Loss::Timeout).into(),
        }
    }
}

/// Hands `letter` over; answers the connection too while it is in step with the relay.
async fn over(
    mut session: Session,
    letter: &Letter,
    phase: &mut Phase,
) -> Result<(Outcome, Session), Trouble> {
    match session.hand_over(letter, phase).await {
        Ok(words) => Ok((Outcome::Accepted { provider_message_id: queue_id(&words) }, session)),
        // 421 closes the connection.
        Err(Trouble::Refused(reply))
            if reply.code >= 400 && reply.code != 421 && !throttle::connection_is_used_up(&reply) =>
        {
            Ok((refused(*phase, &reply), session))
        }
        Err(trouble) => Err(trouble),
    }
}

async fn quit(session: Session) {
    let deadline = Instant::now() + QUIT_TIMEOUT;
    // The connection closes either way.
    timeout_at(deadline, session.quit()).await.ok();
}

fn failed(phase: Phase, trouble: &Trouble) -> Outcome {
    match trouble {
        // A positive code that the command does not call for.
        Trouble::Refused(reply) if reply.code < 400 => lost(phase, &Loss::Garbage),
        Trouble::Refused(reply) => refused(phase, reply),
        Trouble::Lost(loss) => lost(phase, loss),
    }
}

/// Whether a connection that waited had been closed by the server before we used it, or had carried its last message: nothing
/// of this one is lost then. To a new one the server says of us, and not of the connection, that it takes no more.
fn is_gone(trouble: &Trouble, phase: Phase, is_new: bool) -> bool {
    match trouble {
        Trouble::Refused(_) if is_new => false,
        Trouble::Refused(reply) => {
            (reply.code == 421 && phase == Phase::Mail) || throttle::connection_is_used_up(reply)
        }
        Trouble::Lost(Loss::Broken(_)) => true,
        Trouble::Lost(Loss::Garbage | Loss::Timeout | Loss::NoTls | Loss::NoAuth) => false,
    }
}
