//! HTTPS: who trusts the certificate is answered, all others cost a handshake at most.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sluice_http::{Tls, TlsError};
use sluice_testkit::peers::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{exchange, read_to_end, request};
use crate::rig::{Rig, Setup, start_with};

async fn secured(dir: &Path, setup: Setup) -> (Rig, Tls, Certificate) {
    let made = Certificate::for_loopback(dir);
    let tls = Tls::read(&made.chain, &made.key).unwrap();
    let rig = start_with(Setup { tls: Some(tls.clone()), ..setup }).await;
    (rig, tls, made)
}

/// What `GET /health` answers to a client that trusts `authority`.
async fn ask(rig: &Rig, authority: &Path) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(authority).unwrap().map(Result::unwrap));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(rig.addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(&request("GET", "/health", &[], None)).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_right_authority_is_answered_and_a_wrong_one_is_not() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (rig, _, made) = secured(dir.path(), Setup::default()).await;
    let stranger = Certificate::for_loopback(other.path());
    assert!(ask(&rig, &made.authority).await.unwrap().starts_with("HTTP/1.1 200 OK"));
    let error = ask(&rig, &stranger.authority).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert!(ask(&rig, &made.authority).await.is_ok());
}

#[tokio::test]
async fn plain_http_gets_no_answer_and_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let limited = Setup::limited(|it| {
        it.header_timeout = Duration::from_millis(300);
        it.max_connections = 2;
    });
    let (rig, _, made) = secured(dir.path(), limited).await;
    let mut plain = TcpStream::connect(rig.addr).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!read_to_end(&mut plain).await.starts_with(b"HTTP"));
    // Two that never begin to shake hands hold every place, and are cut.
    let _silent = (TcpStream::connect(rig.addr).await.unwrap(), TcpStream::connect(rig.addr).await.unwrap());
    assert!(ask(&rig, &made.authority).await.unwrap().starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_certificate_is_read_again_and_a_bad_one_changes_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (rig, tls, made) = secured(dir.path(), Setup::default()).await;
    let new = Certificate::for_loopback(other.path());
    std::fs::copy(&new.chain, &made.chain).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })), "the key is still the old one");
    assert!(ask(&rig, &made.authority).await.is_ok());
    std::fs::copy(&new.key, &made.key).unwrap();
    tls.reload().unwrap();
    assert!(ask(&rig, &new.authority).await.is_ok());
    assert!(ask(&rig, &made.authority).await.is_err());
    std::fs::write(&made.chain, "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Empty(_))));
    std::fs::remove_file(&made.key).unwrap();
    assert!(tls.reload().is_err());
    assert!(ask(&rig, &new.authority).await.is_ok());
}

#[tokio::test]
async fn without_a_certificate_a_handshake_is_a_bad_request() {
    let rig = start_with(Setup::default()).await;
    let hello = b"\x16\x03\x01\x00\xfa\x01\x00\x00\xf6\x03\x03\r\n\r\n";
    assert_eq!(exchange(rig.addr, hello).await.status, 400);
}
