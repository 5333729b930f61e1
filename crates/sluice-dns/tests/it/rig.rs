//! A resolver with a name server and a clock of its own.

use std::sync::Arc;
use std::time::Duration;

use sluice_dns::{MxResolver, MxSettings};
use sluice_engine::{Clock, MxAnswer, MxSource};

use crate::hand_clock::HandClock;
use crate::name_server::{NameServer, Reply};
use crate::wire::{Message, mx, soa};

/// A timeout that an answer of a busy machine does not reach.
pub(crate) const AMPLE: Duration = Duration::from_secs(20);
/// A timeout for tests that wait for it.
pub(crate) const SHORT: Duration = Duration::from_millis(400);

pub(crate) struct Rig {
    pub(crate) server: NameServer,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) resolver: MxResolver,
}

impl Rig {
    pub(crate) async fn new(timeout: Duration) -> Self {
        Self::with(timeout, |_| {}).await
    }

    pub(crate) async fn with(timeout: Duration, change: impl FnOnce(&mut MxSettings)) -> Self {
        let server = NameServer::start().await;
        let clock = Arc::new(HandClock::default());
        let mut settings = MxSettings::new(Arc::clone(&clock) as Arc<dyn Clock>);
        settings.servers = vec![server.address];
        settings.timeout = timeout;
        change(&mut settings);
        let resolver = MxResolver::new(settings).unwrap();
        Self { server, clock, resolver }
    }

    pub(crate) async fn ask(&self, domain: &str) -> MxAnswer {
        self.resolver.exchanges(domain).await
    }

    /// Waits until no lookup is under way that nobody waits for any more.
    pub(crate) async fn is_settled(&self) {
        tokio::time::timeout(Duration::from_secs(20), self.resolver.settled()).await.unwrap();
    }
}

pub(crate) fn hosts(expected: &[&str]) -> MxAnswer {
    MxAnswer::Hosts(expected.iter().map(|host| String::from(*host)).collect())
}

/// One exchange, `mx.example.net`, for `domain`.
pub(crate) fn one_host(domain: &str, ttl: u32) -> Message {
    Message { answers: vec![mx(domain, ttl, 10, "mx.example.net")], ..Message::default() }
}

/// No such domain, for `ttl` seconds.
pub(crate) fn no_such_domain(ttl: u32) -> Reply {
    Reply::Message(Message { code: 3, authorities: vec![soa("example", ttl)], ..Message::default() })
}

pub(crate) fn failure(code: u8) -> Reply {
    Reply::Message(Message { code, ..Message::default() })
}
