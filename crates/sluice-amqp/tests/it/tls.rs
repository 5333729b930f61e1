//! TLS, ended by a proxy in front of the broker.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice_amqp::{Rabbit, RabbitError};
use sluice_testkit::services::shared_rabbitmq;

use crate::rig::{PATIENCE, fill, lane, metrics, next, open, settings};

const PROXY: &str = r"
import asyncio, ssl, sys
certificate, key, upstream, *authority = sys.argv[1:]
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def serve(reader, writer):
    to_reader, to_writer = await asyncio.open_connection('127.0.0.1', int(upstream))
    await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))
async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority[0])
    server = await asyncio.start_server(serve, '127.0.0.1', 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
";

const CERTIFICATES: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = sluice test
[authority]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:localhost
";

#[tokio::test(flavor = "multi_thread")]
async fn amqps_trusts_the_configured_authority_and_no_other() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = std::env::temp_dir().join(format!("sluice-amqp-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let right = authority(&dir, "right");
    let wrong = authority(&dir, "wrong");
    certificate(&dir, "server", Some("right"));
    let plain = shared_rabbitmq().create_vhost();
    let proxy = TlsProxy::start(&dir, shared_rabbitmq().port(), None);
    let url = plain
        .replace("amqp://", "amqps://")
        .replace(&format!("127.0.0.1:{}", shared_rabbitmq().port()), &format!("localhost:{}", proxy.port));

    let mut trusting = settings(&url);
    trusting.tls_ca_file = Some(right);
    let rabbit = Rabbit::start(trusting.clone(), metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 300).await;
    let mut feed = open(&rabbit, &lane, 10).await;
    for _ in 0..300 {
        next(&mut *feed).await.receipt.ack();
    }
    rabbit.close().await;

    for (file, missing) in [(wrong, false), (dir.join("nowhere.pem"), true)] {
        let mut other = trusting.clone();
        other.tls_ca_file = Some(file);
        other.timeout = Duration::from_secs(2);
        other.stop = tokio_util::sync::CancellationToken::new();
        let rabbit = Rabbit::start(other, metrics()).unwrap();
        let error = rabbit.ready(Duration::from_secs(3)).await.unwrap_err();
        assert_eq!(matches!(error, RabbitError::TlsFile { .. }), missing, "{error:?}");
        assert!(error.is_refusal(), "{error:?}");
        rabbit.close().await;
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_asks_for_a_certificate_is_shown_ours() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = std::env::temp_dir().join(format!("sluice-amqp-mtls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let right = authority(&dir, "right");
    certificate(&dir, "server", Some("right"));
    certificate(&dir, "ours", Some("right"));
    let plain = shared_rabbitmq().create_vhost();
    let proxy = TlsProxy::start(&dir, shared_rabbitmq().port(), Some(&right));
    let url = plain
        .replace("amqp://", "amqps://")
        .replace(&format!("127.0.0.1:{}", shared_rabbitmq().port()), &format!("localhost:{}", proxy.port));
    let file = |name: &str| dir.join(name);
    let with = |pair: Option<(PathBuf, PathBuf)>| {
        let mut settings = settings(&url);
        settings.tls_ca_file = Some(right.clone());
        settings.tls_pair = pair;
        settings.timeout = Duration::from_secs(3);
        Rabbit::start(settings, metrics()).unwrap()
    };

    let rabbit = with(Some((file("ours.pem"), file("ours.key"))));
    rabbit.ready(PATIENCE).await.unwrap();
    fill(&rabbit, &lane("default.bulk.gmail"), 3).await;
    rabbit.close().await;

    let bare = with(None);
    bare.ready(Duration::from_secs(3)).await.unwrap_err();
    bare.close().await;

    // Of another key, or not there: waiting will not mend it.
    for pair in [(file("ours.pem"), file("server.key")), (file("ours.pem"), file("nowhere.key"))] {
        let rabbit = with(Some(pair));
        let error = rabbit.ready(Duration::from_secs(3)).await.unwrap_err();
        assert!(matches!(error, RabbitError::TlsFile { .. }) && error.is_refusal(), "{error:?}");
        rabbit.close().await;
    }
    std::fs::remove_dir_all(dir).unwrap();
}

struct TlsProxy {
    child: Child,
    port: u16,
}

impl TlsProxy {
    fn start(dir: &Path, upstream: u16, authority: Option<&Path>) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", PROXY])
            .args([dir.join("server.pem"), dir.join("server.key")])
            .arg(upstream.to_string())
            .args(authority)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is on PATH");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn authority(dir: &Path, name: &str) -> PathBuf {
    certificate(dir, name, None);
    dir.join(format!("{name}.pem"))
}

/// `<name>.pem` and `<name>.key`, signed by `signer` or by itself as an authority.
fn certificate(dir: &Path, name: &str, signer: Option<&str>) {
    let file = |name: &str, end: &str| dir.join(format!("{name}.{end}"));
    std::fs::write(dir.join("openssl.cnf"), CERTIFICATES).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.arg("-config").arg(dir.join("openssl.cnf"));
    openssl.args(["-extensions", if signer.is_some() { "server" } else { "authority" }]);
    openssl.arg("-keyout").arg(file(name, "key")).arg("-out").arg(file(name, "pem"));
    if let Some(signer) = signer {
        openssl.arg("-CA").arg(file(signer, "pem")).arg("-CAkey").arg(file(signer, "key"));
    }
    let output = openssl.output().expect("openssl is on PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
