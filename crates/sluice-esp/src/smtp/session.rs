//! One connection to a relay: opened, then used for one transaction after another.

use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use sluice_types::Tick;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::convert::{Loss, Phase};
use super::message::Letter;
use super::reply::Reply;
use super::settings::{Relay, TlsMode};
use super::wire::Wire;

/// One address of a host may take this long to answer, so that the next one has its turn.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// How to open a connection. Never shown: it holds the password.
pub(super) struct Dialer {
    pub(super) relay: Relay,
    pub(super) hello: ClientId,
    pub(super) name: ServerName<'static>,
    pub(super) trust: Arc<rustls::ClientConfig>,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The relay said no.
    Refused(Reply),
    /// It said nothing that can be understood.
    Lost(Loss),
}

/// An open connection that is between two transactions.
pub(super) struct Session {
    smtp: AsyncSmtpConnection,
    /// Transactions begun.
    pub(super) used: u32,
    /// A transaction was left half-way.
    pub(super) needs_reset: bool,
    /// When it became idle.
    pub(super) idle_since: Tick,
}

impl Dialer {
    /// Connects, encrypts, says hello and logs in. `phase` says how far it came.
    pub(super) async fn open(&self, phase: &mut Phase) -> Result<Session, Trouble> {
        *phase = Phase::Connect;
        let stream = self.connect().await?;
        let mut smtp = if self.relay.tls == TlsMode::Implicit {
            let wire = Wire::tls(self.encrypt(stream, phase).await?);
            self.say_hello(wire, phase).await?
        } else {
            self.begin_plain(stream, phase).await?
        };
        if let Some(credentials) = &self.relay.credentials {
            self.log_in(&mut smtp, credentials, phase).await?;
        }
        Ok(Session { smtp, used: 0, needs_reset: false, idle_since: Tick::ZERO })
    }

    async fn connect(&self) -> Result<TcpStream, Trouble> {
        let addresses = lookup_host((self.relay.host.as_str(), self.relay.port)).await;
        let mut last = Loss::Broken("the host name has no address".to_owned());
        for address in addresses.map_err(|error| broken(&error))? {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // The message and its final dot are written apart; Nagle would hold the dot back.
                    stream.set_nodelay(true).map_err(|error| broken(&error))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Loss::Broken(error.kind().to_string()),
                Err(_) => last = Loss::Timeout,
            }
        }
        Err(Trouble::Lost(last))
    }

    /// Reads the greeting and says EHLO.
    async fn say_hello(&self, wire: Wire, phase: &mut Phase) -> Result<AsyncSmtpConnection, Trouble> {
        *phase = Phase::Hello;
        AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello)
            .await
            .map_err(|error| trouble(&error))
    }

    /// Begins without TLS, and anew over TLS if STARTTLS is offered and wanted.
    ///
    /// lettre's own STARTTLS would put its TLS above our wire, which then could not see the replies.
    async fn begin_plain(
        &self,
        stream: TcpStream,
        phase: &mut Phase,
    ) -> Result<AsyncSmtpConnection, Trouble> {
        let (wire, mut left) = Wire::tcp(stream);
        let mut smtp = self.say_hello(wire, phase).await?;
        if self.relay.tls == TlsMode::Never {
            return Ok(smtp);
        }
        *phase = Phase::Tls;
        if !smtp.can_starttls() {
            let may_be_plain = self.relay.tls == TlsMode::Opportunistic
                && (self.relay.loopback || self.relay.credentials.is_none());
            return if may_be_plain { Ok(smtp) } else { Err(Trouble::Lost(Loss::NoTls)) };
        }
        expect(smtp.command(Starttls).await, 220)?;
        // All that was said in clear goes with it, what the server offers too (RFC 3207 section 4.2).
        drop(smtp);
        let gone = || Trouble::Lost(Loss::Broken("the connection was not left".to_owned()));
        let stream = left.try_recv().map_err(|_| gone())?;
        let wire = Wire::starttls(self.encrypt(stream, phase).await?);
        self.say_hello(wire, phase).await
    }

    async fn encrypt(&self, stream: TcpStream, phase: &mut Phase) -> Result<TlsStream<TcpStream>, Trouble> {
        *phase = Phase::Tls;
        let connector = TlsConnector::from(Arc::clone(&self.trust));
        connector.connect(self.name.clone(), stream).await.map_err(|error| broken(&error))
    }

    async fn log_in(
        &self,
        smtp: &mut AsyncSmtpConnection,
        credentials: &Credentials,
        phase: &mut Phase,
    ) -> Result<(), Trouble> {
        *phase = Phase::Auth;
        if smtp.server_info().get_auth_mechanism(&MECHANISMS).is_none() {
            return Err(Trouble::Lost(Loss::NoAuth));
        }
        expect(smtp.auth(&MECHANISMS, credentials).await, 235).map(|_| ())
    }
}

impl Session {
    /// Hands over one message; answers the relay's words.
    ///
    /// `phase` is [`Phase::Dot`] from just before the final dot is written, whatever happens to this future. Every reply
    /// must carry the code that its command calls for, so that a dialogue out of step is never taken for success.
    pub(super) async fn hand_over(&mut self, letter: &Letter, phase: &mut Phase) -> Result<String, Trouble> {
        *phase = Phase::Mail;
        self.used = self.used.saturating_add(1);
        if self.needs_reset {
            expect(self.smtp.command(Rset).await, 250)?;
        }
        self.needs_reset = true;
        expect(self.smtp.command(Mail::new(Some(letter.from.clone()), Vec::new())).await, 250)?;
        *phase = Phase::Rcpt;
        match expect(self.smtp.command(Rcpt::new(letter.to.clone(), Vec::new())).await, 250) {
            // 251: user not local, will forward.
            Err(Trouble::Refused(reply)) if reply.code == 251 => {}
            other => {
                other?;
            }
        }
        *phase = Phase::Data;
        expect(self.smtp.command(Data).await, 354)?;
        *phase = Phase::Body;
        let content = Content { bytes: Some(&letter.bytes), phase };
        let response = expect(self.smtp.message_iter(content).await, 250)?;
        self.needs_reset = false;
        Ok(response.message().collect::<Vec<_>>().join(" "))
    }

    /// Says goodbye and closes.
    pub(super) async fn quit(mut self) {
        // Whether the relay answers does not matter any more.
        self.smtp.quit().await.ok();
    }
}

/// The message in one piece. lettre asks for the next one only when all before it is written, and then writes the dot.
struct Content<'a> {
    bytes: Option<&'a [u8]>,
    phase: &'a mut Phase,
}

impl<'a> Iterator for Content<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.bytes.take();
        if bytes.is_none() {
            *self.phase = Phase::Dot;
        }
        bytes
    }
}

fn expect(answer: Result<Response, lettre::transport::smtp::Error>, code: u16) -> Result<Response, Trouble> {
    match answer {
        Ok(response) if u16::from(response.code()) == code => Ok(response),
        Ok(response) => {
            let text = response.message().collect::<Vec<_>>().join(" ");
            Err(Trouble::Refused(Reply { code: response.code().into(), text }))
        }
        Err(error) => Err(trouble(&error)),
    }
}

fn trouble(error: &lettre::transport::smtp::Error) -> Trouble {
    use std::error::Error as _;
    if let Some(code) = error.status() {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        return Trouble::Refused(Reply { code: code.into(), text });
    }
    let mut cause = error.source();
    while let Some(it) = cause {
        if let Some(error) = it.downcast_ref::<std::io::Error>() {
            return broken(error);
        }
        cause = it.source();
    }
    Trouble::Lost(if error.is_response() { Loss::Garbage } else { Loss::Broken("no cause given".to_owned()) })
}

fn broken(error: &std::io::Error) -> Trouble {
    Trouble::Lost(match error.kind() {
        std::io::ErrorKind::InvalidData if error.get_ref().is_some_and(|it| it.is::<rustls::Error>()) => {
            Loss::Broken(error.to_string())
        }
        std::io::ErrorKind::InvalidData => Loss::Garbage,
        std::io::ErrorKind::TimedOut => Loss::Timeout,
        kind => Loss::Broken(kind.to_string()),
    })
}
