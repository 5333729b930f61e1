//! Against a mail server that is not ours: encryption, login, and what arrives.

use sluice_engine::Esp;
use sluice_esp::{SmtpEsp, SmtpSettings};
use sluice_testkit::peers::{SmtpOptions, SmtpStandIn, SmtpTls};
use sluice_types::{AttemptOutcome, Category, Outcome};

use crate::jobs::{clock, job};
use crate::smtp::{PATIENCE, settings};

fn settings_for(server: &SmtpStandIn, scheme: &str, query: &str) -> SmtpSettings {
    let (user, password, port) = (server.user(), server.password(), server.addr().port());
    let mut settings = settings(&format!("{scheme}://{user}:{password}@localhost:{port}{query}"), PATIENCE);
    settings.tls_ca_file = server.ca_file().map(Into::into);
    settings
}

#[tokio::test]
async fn an_encrypted_login_reaches_a_foreign_server() {
    for (tls, scheme, query) in [
        (SmtpTls::Implicit, "smtps", ""),
        (SmtpTls::StartTls, "smtp", "?tls=required"),
        (SmtpTls::StartTls, "smtp", ""),
    ] {
        let server = SmtpStandIn::start_with(SmtpOptions { tls, auth: true });
        let relay = SmtpEsp::new(&settings_for(&server, scheme, query), clock()).unwrap();
        for id in ["job-1", "job-2"] {
            let outcome = relay.send(&job(id, "ada@gmail.com"), 1).await.outcome;
            assert!(matches!(outcome, Outcome::Accepted { .. }), "{tls:?}: {outcome:?}");
        }
        let journal = server.journal();
        assert_eq!(journal.len(), 2);
        assert!(journal.iter().all(|message| message.tls && message.authenticated), "{journal:?}");
        assert_eq!(journal[0].job_id.as_deref(), Some("job-1"));
        assert_eq!(journal[0].sender, "news@acme.example");
        assert_eq!(journal[0].recipient, "ada@gmail.com");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_a_tls_fault() {
    for (tls, scheme, query) in
        [(SmtpTls::Implicit, "smtps", ""), (SmtpTls::StartTls, "smtp", "?tls=required")]
    {
        let server = SmtpStandIn::start_with(SmtpOptions { tls, auth: true });
        let mut settings = settings_for(&server, scheme, query);
        settings.tls_ca_file = None;
        let relay = SmtpEsp::new(&settings, clock()).unwrap();
        let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
        assert_eq!(
            (outcome.kind(), outcome.category()),
            (AttemptOutcome::Faulted, Some(Category::Tls)),
            "{outcome:?}"
        );
        assert!(server.journal().is_empty());
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_auth_fault() {
    let server = SmtpStandIn::start_with(SmtpOptions { tls: SmtpTls::Implicit, auth: true });
    let mut settings = settings_for(&server, "smtps", "");
    settings.url = format!("smtps://{}:wrong@localhost:{}", server.user(), server.addr().port()).into();
    let relay = SmtpEsp::new(&settings, clock()).unwrap();
    let outcome = relay.send(&job("job-1", "ada@gmail.com"), 1).await.outcome;
    assert_eq!(outcome.category(), Some(Category::Auth), "{outcome:?}");
}

#[tokio::test]
async fn every_script_of_the_server_has_its_outcome_and_nothing_is_sent_twice() {
    let server = SmtpStandIn::start();
    let relay = SmtpEsp::new(&settings(&format!("smtp://{}", server.addr()), PATIENCE), clock()).unwrap();
    use AttemptOutcome::{Accepted, Deferred, Faulted, Rejected, Unknown};
    for (recipient, kind, category) in [
        ("ada@gmail.com", Accepted, None),
        ("r421+1@gmail.com", Deferred, Some(Category::Throttled)),
        ("r450+1@gmail.com", Deferred, Some(Category::Throttled)),
        ("r550+1@gmail.com", Rejected, Some(Category::RecipientUnknown)),
        ("data550+1@gmail.com", Rejected, Some(Category::Policy)),
        ("dropearly+1@gmail.com", Faulted, Some(Category::Connect)),
        ("dropdata+1@gmail.com", Unknown, Some(Category::AnswerLost)),
        ("slow50+1@gmail.com", Accepted, None),
        ("bob@gmail.com", Accepted, None),
    ] {
        let outcome = relay.send(&job(&format!("job-{recipient}"), recipient), 1).await.outcome;
        assert_eq!((outcome.kind(), outcome.category()), (kind, category), "{recipient}: {outcome:?}");
    }
    let accepted = server.accepted_by_job();
    assert_eq!(accepted.len(), 4);
    assert!(accepted.values().all(|&count| count == 1), "{accepted:?}");
}
