//! The dialogue over STARTTLS, with a server whose replies are bytes.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sluice_engine::Esp;
use sluice_esp::SmtpEsp;
use sluice_testkit::peers::Certificate;
use sluice_types::{AttemptOutcome, Category, Outcome};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::jobs::{clock, job};

/// Reads one command and answers it, until the client goes.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    of: impl Fn(&str) -> Vec<u8>,
) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.get_mut().write_all(&of(line.trim_end())).await?;
    Ok(line)
}

/// Takes one connection, over TLS from STARTTLS on; `reply` is said to `verb` then.
async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    verb: &str,
    reply: &[u8],
) -> std::io::Result<()> {
    let (mut tcp, _) = listener.accept().await?;
    tcp.write_all(b"220 raw.example\r\n").await?;
    let mut plain = BufReader::new(tcp);
    answer(&mut plain, |_| b"250-raw.example\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n".to_vec()).await?;
    answer(&mut plain, |_| b"220 go on\r\n".to_vec()).await?;
    let mut tls = BufReader::new(acceptor.accept(plain.into_inner()).await?);
    let mut in_body = false;
    loop {
        let usual = |line: &str| match line.split(' ').next().unwrap_or_default() {
            it if it == verb => reply.to_vec(),
            // What was offered in clear does not count any more.
            "EHLO" => b"250-raw.example\r\n250 AUTH PLAIN\r\n".to_vec(),
            "AUTH" if line.starts_with("AUTH PLAIN ") => b"235 2.7.0 welcome\r\n".to_vec(),
            "AUTH" => b"504 5.5.4 no\r\n".to_vec(),
            "DATA" => b"354 go on\r\n".to_vec(),
            "." => b"250 2.0.0 Ok: queued as 4XyZ12abc\r\n".to_vec(),
            "MAIL" | "RCPT" => b"250 Ok\r\n".to_vec(),
            "QUIT" => b"221 bye\r\n".to_vec(),
            _ => Vec::new(),
        };
        let line =
            answer(&mut tls, |line| if in_body && line != "." { Vec::new() } else { usual(line) }).await?;
        in_body = (in_body || line == "DATA\r\n") && line != ".\r\n";
        if line.is_empty() {
            return Ok(());
        }
    }
}

async fn sent(verb: &'static str, reply: &'static [u8]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let made = Certificate::for_loopback(dir.path());
    let chain = CertificateDer::pem_file_iter(&made.chain).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&made.key).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://user:secret@{}?tls=required", listener.local_addr().unwrap());
    let mut settings = crate::smtp::settings(&url, Duration::from_secs(20));
    settings.tls_ca_file = Some(made.authority);
    let relay = SmtpEsp::new(&settings, clock()).unwrap();
    let job = job("job-1", "ada@gmail.com");
    let served = async {
        serve(listener, TlsAcceptor::from(Arc::new(config)), verb, reply).await.ok();
        std::future::pending().await
    };
    tokio::select! {
        answer = relay.send(&job, 1) => answer.outcome,
        outcome = served => outcome,
    }
}

#[tokio::test]
async fn what_is_offered_over_tls_counts_and_a_message_goes_through() {
    let outcome = sent("", b"").await;
    assert_eq!(outcome, Outcome::Accepted { provider_message_id: Some("4XyZ12abc".to_owned()) });
}

#[tokio::test]
async fn a_reply_in_another_encoding_keeps_its_code_over_tls_too() {
    let outcome = sent("RCPT", b"550 5.1.1 \xd3\xca\xcf\xe4\xff\r\n").await;
    assert_eq!(outcome.kind(), AttemptOutcome::Rejected, "{outcome:?}");
    assert_eq!(outcome.category(), Some(Category::RecipientUnknown));
    let outcome = sent(".", b"250 2.0.0 empf\xe4ngt\r\n").await;
    assert_eq!(outcome, Outcome::Accepted { provider_message_id: None });
}

#[tokio::test]
async fn a_refusal_over_tls_is_the_relay_s_and_no_fault_of_tls() {
    let outcome = sent("EHLO", b"554 5.7.1 your address is blocked\r\n").await;
    assert_eq!(outcome.category(), Some(Category::Account), "{outcome:?}");
}
