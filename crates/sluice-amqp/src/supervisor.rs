//! Keeps one connection: connect, declare, serve until the first error, wait, again. Each connection is a generation.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::{Address, call};
use crate::declaration::Declaration;
use crate::error::RabbitError;
use crate::health::Health;
use crate::reconnect_delay::ReconnectDelay;

/// A connection that held so long is taken for sound: the delays start anew.
const HELD: Duration = Duration::from_secs(10);
/// How often to look at the connection's state, beside its events.
const LOOK: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Declares the topology, consumes, acks, asks for depths.
    Consume,
    /// Publishes; the broker may block it without touching the other.
    Publish,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
        }
    }
}

/// A connection that stands.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) connection: Arc<Connection>,
    /// Counts the connections of this process for this purpose, from 1.
    pub(crate) generation: u64,
    /// Cancelled once the connection is lost or closed.
    pub(crate) over: CancellationToken,
}

#[derive(Clone, Debug)]
enum LinkState {
    Down(Option<RabbitError>),
    Up(Live),
    Closed,
}

/// The current connection, as its users see it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    state: watch::Receiver<LinkState>,
    timeout: Duration,
}

impl Link {
    /// The connection that stands, waited for a while. What waiting will not mend is an error at once.
    pub(crate) async fn live(&self) -> Result<Live, RabbitError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| match state {
            LinkState::Down(error) => error.as_ref().is_some_and(RabbitError::is_refusal),
            LinkState::Up(_) | LinkState::Closed => true,
        });
        let settled = match tokio::time::timeout(self.timeout, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => LinkState::Closed,
            Err(_) => self.state.borrow().clone(),
        };
        match settled {
            LinkState::Up(live) => Ok(live),
            LinkState::Down(error) => Err(error.unwrap_or(RabbitError::Down)),
            LinkState::Closed => Err(RabbitError::Closed),
        }
    }
}

/// The task that keeps one connection.
pub(crate) struct Supervisor {
    pub(crate) purpose: Purpose,
    pub(crate) name: String,
    pub(crate) address: Address,
    /// What to declare on each new connection, if this one does it.
    pub(crate) declaration: Option<Arc<Declaration>>,
    /// Nothing is published before this connection has stood once, since it declares the queues.
    pub(crate) after: Option<Link>,
    pub(crate) health: Arc<Health>,
    pub(crate) timeout: Duration,
    pub(crate) stop: CancellationToken,
}

impl Supervisor {
    /// The view of the connection, and the future that keeps it until `stop`.
    pub(crate) fn split(self) -> (Link, impl Future<Output = ()> + Send) {
        let (state, watched) = watch::channel(LinkState::Down(None));
        let link = Link { state: watched, timeout: self.timeout };
        (link, self.run(state))
    }

    async fn run(mut self, state: watch::Sender<LinkState>) {
        let mut delay = ReconnectDelay::new();
        let mut generation = 0_u64;
        if let Some(after) = self.after.take() {
            self.wait_for(&after).await;
        }
        while !self.stop.is_cancelled() {
            match self.connect().await {
                Ok(connection) => {
                    generation += 1;
                    let since = tokio::time::Instant::now();
                    self.serve(connection, generation, &state).await;
                    if since.elapsed() >= HELD {
                        delay.reset();
                    }
                }
                // Given up because we were told to: whoever asked for that needs no warning.
                Err(_) if self.stop.is_cancelled() => {}
                Err(error) => {
                    tracing::warn!(
                        connection = self.purpose.as_str(),
                        error = &error as &dyn std::error::Error,
                        "broker not reached"
                    );
                    state.send_replace(LinkState::Down(Some(error)));
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(delay.next()) => {}
            }
        }
        state.send_replace(LinkState::Closed);
    }

    async fn wait_for(&self, other: &Link) {
        while !self.stop.is_cancelled() && other.live().await.is_err() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RabbitError> {
        let name = format!("{} {}", self.name, self.purpose.as_str());
        let connection = tokio::select! {
            () = self.stop.cancelled() => return Err(RabbitError::Closed),
            connection = self.address.connect(&name) => connection?,
        };
        if let Some(declaration) = &self.declaration {
            declaration.settle(&connection, self.timeout).await?;
        }
        Ok(connection)
    }

    /// Offers the connection until it is lost, or until it shall stop; then closes it.
    async fn serve(&self, connection: Connection, generation: u64, state: &watch::Sender<LinkState>) {
        let live = Live { connection: Arc::new(connection), generation, over: CancellationToken::new() };
        tracing::info!(connection = self.purpose.as_str(), generation, "broker connected");
        if generation > 1 {
            self.health.reconnected();
        }
        self.up(true);
        state.send_replace(LinkState::Up(live.clone()));
        let lost = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            error = self.watch(&live.connection) => Some(error),
        };
        self.up(false);
        live.over.cancel();
        match lost {
            Some(error) => {
                tracing::warn!(
                    connection = self.purpose.as_str(),
                    generation,
                    error = &error as &dyn std::error::Error,
                    "broker lost"
                );
                state.send_replace(LinkState::Down(None));
            }
            None => {
                state.send_replace(LinkState::Closed);
                let closing = live.connection.close(200, "OK".into());
                if let Err(error) = call(self.timeout, "connection.close", closing).await {
                    tracing::warn!(
                        connection = self.purpose.as_str(),
                        error = &error as &dyn std::error::Error,
                        "broker not left in order"
                    );
                }
            }
        }
    }

    /// Comes back with the reason once the connection is lost.
    async fn watch(&self, connection: &Connection) -> RabbitError {
        let mut events = pin!(connection.events_listener());
        let mut look = tokio::time::interval(LOOK);
        let mut last = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "broker has blocked publishing");
                        self.blocked(true);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!("broker has unblocked publishing");
                        self.blocked(false);
                    }
                    // An error of one channel leaves the connection alone; its user hears of it.
                    Some(Event::Error(error)) => last = Some(error),
                    Some(_) => {}
                    None => return RabbitError::Down,
                },
                _ = look.tick() => {}
            }
            if !connection.status().connected() {
                return last.map_or(RabbitError::Down, |source| RabbitError::call("connection", source));
            }
        }
    }

    fn up(&self, up: bool) {
        match self.purpose {
            Purpose::Consume => self.health.consuming(up),
            Purpose::Publish => self.health.publishing(up),
        }
        self.blocked(false);
    }

    fn blocked(&self, blocked: bool) {
        if self.purpose == Purpose::Publish {
            self.health.blocked(blocked);
        }
    }
}

/// Waits until `link` stands; an error once it is known that it will not.
pub(crate) async fn settle(link: &Link) -> Result<(), RabbitError> {
    loop {
        match link.live().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_refusal() || matches!(error, RabbitError::Closed) => return Err(error),
            Err(_) => {}
        }
    }
}
