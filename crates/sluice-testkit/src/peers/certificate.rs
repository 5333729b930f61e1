//! A throw-away certificate authority and a certificate for loopback, made by the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::services::on_path;

/// The leaf is not its own authority: rustls refuses an authority as a server's certificate.
const SETTINGS: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = sluice test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
";

/// The files of one certificate.
#[derive(Debug)]
pub struct Certificate {
    /// What a client has to trust.
    pub authority: PathBuf,
    /// What the server shows.
    pub chain: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one for `localhost` and 127.0.0.1, valid for two days.
    ///
    /// # Panics
    /// If `openssl` is missing or older than 3.0.
    pub fn for_loopback(dir: &Path) -> Self {
        let settings = dir.join("openssl.cnf");
        std::fs::write(&settings, SETTINGS).expect("the scratch directory can be written");
        let file = |name: &str| dir.join(name);
        let made =
            Self { authority: file("authority.pem"), chain: file("server.pem"), key: file("server.key") };
        let authority_key = file("authority.key");
        let new =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let openssl = |section: &str, key: &Path, certificate: &Path, signer: &[&Path]| {
            let mut command = Command::new(on_path("openssl").expect("the openssl command is on PATH"));
            command.args(new).arg("-config").arg(&settings).args(["-extensions", section]);
            command.arg("-keyout").arg(key).arg("-out").arg(certificate);
            if let [authority, authority_key] = signer {
                command.arg("-CA").arg(authority).arg("-CAkey").arg(authority_key);
            }
            let output = command.output().expect("openssl can be run");
            assert!(output.status.success(), "openssl failed:\n{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl("authority", &authority_key, &made.authority, &[]);
        openssl("server", &made.key, &made.chain, &[&made.authority, &authority_key]);
        made
    }
}
