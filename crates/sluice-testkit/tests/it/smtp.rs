//! The SMTP stand-in answers as scripted, encrypted and not, and its journal tells what it took.

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{Error, SmtpTransport};
use lettre::{Message, Transport};
use sluice_testkit::peers::{SmtpOptions, SmtpOutcome, SmtpStandIn, SmtpTls};

/// A client that does not encrypt waits this long for a greeting that is encrypted.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(2));

/// A client of `stand-in`, one connection a mail.
fn client(stand_in: &SmtpStandIn, tls: Tls, password: Option<&str>) -> SmtpTransport {
    let builder =
        SmtpTransport::builder_dangerous("127.0.0.1").port(stand_in.addr().port()).tls(tls).timeout(PATIENCE);
    let login = password.map(|word| Credentials::new(stand_in.user().to_owned(), word.to_owned()));
    match login {
        Some(login) => builder.credentials(login).build(),
        None => builder.build(),
    }
}

fn send(client: &SmtpTransport, job_id: &str, recipient: &str) -> Result<(), Error> {
    let mut mail = Message::builder()
        .from("news@acme.example".parse().expect("an address"))
        .to(recipient.parse().expect("an address"))
        .subject("Hello")
        .body("Hello\r\n.\r\nthere".to_owned())
        .expect("a whole message");
    let name = HeaderName::new_from_ascii_str("X-Sluice-Job-Id");
    mail.headers_mut().insert_raw(HeaderValue::new(name, job_id.to_owned()));
    client.send(&mail).map(drop)
}

fn trusting(stand_in: &SmtpStandIn) -> TlsParameters {
    let authority = std::fs::read(stand_in.ca_file().expect("encrypted")).expect("the file is there");
    let certificate = Certificate::from_pem(&authority).expect("a certificate");
    TlsParameters::builder("127.0.0.1".to_owned())
        .add_root_certificate(certificate)
        .build()
        .expect("parameters")
}

#[test]
fn the_recipient_scripts_the_answer() {
    let stand_in = SmtpStandIn::start();
    let client = client(&stand_in, Tls::None, None);
    let code = |recipient: &str| {
        let answer = send(&client, recipient, &format!("{recipient}+x@a.example"));
        answer.map_err(|error| error.status().map(|code| code.to_string()))
    };
    assert_eq!(code("ada"), Ok(()));
    assert_eq!(code("r421"), Err(Some("421".to_owned())));
    assert_eq!(code("r450"), Err(Some("450".to_owned())));
    assert_eq!(code("r550"), Err(Some("550".to_owned())));
    assert_eq!(code("data550"), Err(Some("550".to_owned())));
    assert_eq!(code("dropearly"), Err(None));
    assert_eq!(code("dropdata"), Err(None));
    assert_eq!(code("slow50"), Ok(()));
    let journal = stand_in.journal();
    let outcomes: Vec<_> = journal.iter().map(|message| message.outcome.clone()).collect();
    let refused = |outcome: &SmtpOutcome, begin: &str| match outcome {
        SmtpOutcome::Refused(reply) => reply.starts_with(begin),
        SmtpOutcome::Accepted | SmtpOutcome::AcceptedThenDropped | SmtpOutcome::Dropped => false,
    };
    assert_eq!(outcomes.len(), 8);
    assert_eq!(outcomes[0], SmtpOutcome::Accepted);
    assert!(refused(&outcomes[1], "421 4.7.28"));
    assert!(refused(&outcomes[2], "450 4.2.1"));
    assert!(refused(&outcomes[3], "550 5.1.1"));
    assert!(refused(&outcomes[4], "550 5.7.1"));
    assert_eq!(outcomes[5], SmtpOutcome::Dropped);
    assert_eq!(outcomes[6], SmtpOutcome::AcceptedThenDropped);
    let expected = ["ada", "dropdata", "slow50"].map(|job| (job.to_owned(), 1));
    assert_eq!(stand_in.accepted_by_job(), expected.into());
    let first = &journal[0];
    assert_eq!((first.sender.as_str(), first.recipient.as_str()), ("news@acme.example", "ada+x@a.example"));
    assert!(first.headers.contains("Subject: Hello") && !first.tls && !first.authenticated);
    assert!(journal.is_sorted_by(|a, b| a.received_s <= b.received_s));
}

#[test]
fn encryption_is_offered_from_the_first_byte_or_by_starttls() {
    for (tls, wrap) in [
        (SmtpTls::Implicit, Tls::Wrapper as fn(TlsParameters) -> Tls),
        (SmtpTls::StartTls, Tls::Required as fn(TlsParameters) -> Tls),
    ] {
        let stand_in = SmtpStandIn::start_with(SmtpOptions { tls, auth: false });
        send(&client(&stand_in, wrap(trusting(&stand_in)), None), "job", "ada@a.example").unwrap();
        assert!(stand_in.journal().iter().all(|message| message.tls && message.accepted()));
        assert!(send(&client(&stand_in, Tls::None, None), "job", "ada@a.example").is_err());
        let stranger = TlsParameters::new("127.0.0.1".to_owned()).unwrap();
        assert!(send(&client(&stand_in, wrap(stranger), None), "job", "ada@a.example").is_err());
        assert_eq!(stand_in.journal().len(), 1);
    }
}

#[test]
fn mail_needs_the_right_login_when_one_is_asked_for() {
    let stand_in = SmtpStandIn::start_with(SmtpOptions { tls: SmtpTls::Implicit, auth: true });
    let send_with = |password: Option<&str>| {
        let client = client(&stand_in, Tls::Wrapper(trusting(&stand_in)), password);
        let answer = send(&client, "job", "ada@a.example");
        answer.map_err(|error| error.status().map(|code| code.to_string()).unwrap_or_default())
    };
    assert_eq!(send_with(None), Err("530".to_owned()));
    assert_eq!(send_with(Some("wrong")), Err("535".to_owned()));
    assert_eq!(send_with(Some(stand_in.password())), Ok(()));
    assert_eq!(stand_in.journal().iter().filter(|message| message.authenticated).count(), 1);
}
