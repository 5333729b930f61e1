//! Against the test kit's SendGrid, which refuses what SendGrid would refuse and keeps a journal.

use std::time::Duration;

use sluice_engine::Esp;
use sluice_esp::{SendGridEsp, SendGridSettings};
use sluice_testkit::peers::{SendGridStandIn, SmtpOptions, SmtpStandIn, SmtpTls};
use sluice_types::{AttemptOutcome, Category};

use crate::jobs::{clock, job};
use crate::sendgrid::settings;

fn settings_for(server: &SendGridStandIn) -> SendGridSettings {
    let mut settings = settings(&server.url(), Duration::from_secs(2));
    settings.api_key = server.api_key().into();
    settings
}

#[tokio::test]
async fn every_script_of_the_server_has_its_outcome_and_nothing_is_sent_twice() {
    use AttemptOutcome::{Accepted, Deferred, Faulted, Rejected, Unknown};
    let server = SendGridStandIn::start();
    let esp = SendGridEsp::new(&settings_for(&server), clock()).unwrap();
    for (recipient, kind, category) in [
        ("ada@gmail.com", Accepted, None),
        ("slow50+1@gmail.com", Accepted, None),
        ("r400+1@gmail.com", Rejected, Some(Category::Content)),
        ("r413+1@gmail.com", Rejected, Some(Category::Content)),
        ("r401+1@gmail.com", Faulted, Some(Category::Auth)),
        ("r403+1@gmail.com", Faulted, Some(Category::Account)),
        ("r429-7+1@gmail.com", Deferred, Some(Category::Throttled)),
        ("r500+1@gmail.com", Faulted, Some(Category::ServerError)),
        ("r503+1@gmail.com", Faulted, Some(Category::ServerError)),
        ("garbage+1@gmail.com", Rejected, Some(Category::Content)),
        ("cut-before+1@gmail.com", Unknown, Some(Category::AnswerLost)),
        ("cut-after+1@gmail.com", Unknown, Some(Category::AnswerLost)),
        ("hang+1@gmail.com", Unknown, Some(Category::AnswerLost)),
    ] {
        let outcome = esp.send(&job(&format!("job-{recipient}"), recipient), 1).await.outcome;
        assert_eq!((outcome.kind(), outcome.category()), (kind, category), "{recipient}: {outcome:?}");
    }
    assert_eq!(server.calls(), 13);
    let accepted = server.accepted_by_job();
    assert_eq!(accepted.len(), 3);
    assert!(accepted.values().all(|&count| count == 1), "{accepted:?}");
}

#[tokio::test]
async fn the_message_id_is_the_server_s() {
    let server = SendGridStandIn::start();
    let esp = SendGridEsp::new(&settings_for(&server), clock()).unwrap();
    let outcome = esp.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    let sluice_types::Outcome::Accepted { provider_message_id } = outcome else {
        unreachable!("{outcome:?}")
    };
    assert_eq!(provider_message_id.as_deref(), Some(server.journal()[0].message_id.as_str()));
    assert_eq!(server.journal()[0].job_id.as_deref(), Some("job-1"));
}

#[tokio::test]
async fn a_wrong_key_is_an_auth_fault() {
    let server = SendGridStandIn::start();
    let mut settings = settings_for(&server);
    settings.api_key = "SG.other".into();
    let esp = SendGridEsp::new(&settings, clock()).unwrap();
    let outcome = esp.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_eq!(outcome.category(), Some(Category::Auth), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_a_tls_fault() {
    // Any server will do that shows a certificate which nobody trusts.
    let server = SmtpStandIn::start_with(SmtpOptions { tls: SmtpTls::Implicit, auth: false });
    let url = format!("https://localhost:{}", server.addr().port());
    let esp = SendGridEsp::new(&settings(&url, Duration::from_secs(5)), clock()).unwrap();
    let outcome = esp.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_eq!(
        (outcome.kind(), outcome.category()),
        (AttemptOutcome::Faulted, Some(Category::Tls)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_authority_of_the_settings_is_trusted() {
    let server = SmtpStandIn::start_with(SmtpOptions { tls: SmtpTls::Implicit, auth: false });
    let url = format!("https://localhost:{}", server.addr().port());
    let mut settings = settings(&url, Duration::from_secs(5));
    settings.tls_ca_file = server.ca_file().map(Into::into);
    let outcome =
        SendGridEsp::new(&settings, clock()).unwrap().send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    // It shakes hands, and then speaks no HTTP.
    assert_ne!(outcome.category(), Some(Category::Tls), "{outcome:?}");
    settings.tls_ca_file = Some("/nowhere.pem".into());
    assert!(SendGridEsp::new(&settings, clock()).unwrap_err().to_string().contains("tls_ca_file"));
}
