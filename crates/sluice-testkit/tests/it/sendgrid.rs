//! The SendGrid stand-in answers as scripted, and its journal tells the truth the client is not told.

use std::time::{Duration, Instant};

use sluice_testkit::peers::{SendGridAnswer, SendGridStandIn};

use crate::http_client::{Connection, header, mail, request};

#[test]
fn a_mail_is_accepted_with_a_message_id_and_many_fit_one_connection() {
    let stand_in = SendGridStandIn::start();
    let mut connection = Connection::to(&stand_in);
    let mut ids = Vec::new();
    for job in ["a", "b", "a"] {
        let (status, headers, body) = connection.mail(job, "ada@example.com").unwrap();
        assert_eq!((status, body.as_str()), (202, ""));
        ids.push(header(&headers, "x-message-id").unwrap().to_owned());
    }
    let journal = stand_in.journal();
    assert_eq!(journal.iter().map(|call| call.message_id.clone()).collect::<Vec<_>>(), ids);
    assert!(journal.iter().all(|call| call.authorized && call.accepted && call.status == Some(202)));
    assert!(journal.is_sorted_by_key(|call| call.received));
    assert_eq!(stand_in.accepted_by_job(), [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
    assert_eq!(stand_in.accepted_at(|recipient| recipient.ends_with("@example.com")).len(), 3);
}

#[test]
fn the_recipient_scripts_the_status() {
    let stand_in = SendGridStandIn::start();
    let mut connection = Connection::to(&stand_in);
    for (recipient, expected) in [
        ("r400+x@a.example", 400),
        ("r401@a.example", 401),
        ("r413+x@a.example", 413),
        ("r500+1@a.example", 500),
    ] {
        let (status, _, body) = connection.mail("job", recipient).unwrap();
        assert_eq!(status, expected);
        assert!(body.contains("\"errors\""), "{body}");
    }
    let (status, headers, _) = connection.mail("job", "r429-7+x@a.example").unwrap();
    assert_eq!((status, header(&headers, "retry-after")), (429, Some("7")));
    let (status, _, body) = connection.mail("job", "garbage@a.example").unwrap();
    assert_eq!(status, 400);
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_err());
    assert_eq!((stand_in.calls(), stand_in.accepted()), (6, 0));
}

#[test]
fn a_slow_answer_comes_late() {
    let stand_in = SendGridStandIn::start();
    let begin = Instant::now();
    let (status, _, _) = Connection::to(&stand_in).mail("job", "slow150+x@a.example").unwrap();
    assert_eq!(status, 202);
    assert!(begin.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_cut_connection_hides_whether_the_mail_was_accepted() {
    let stand_in = SendGridStandIn::start();
    assert!(Connection::to(&stand_in).mail("lost", "cut-before+x@a.example").is_none());
    assert!(Connection::to(&stand_in).mail("sent", "cut-after+x@a.example").is_none());
    assert_eq!(stand_in.accepted_by_job(), [("sent".to_owned(), 1)].into());
    stand_in.cut_at_head(true);
    assert!(Connection::to(&stand_in).mail("unread", "ada@a.example").is_none());
    assert_eq!(stand_in.calls(), 2);
}

#[test]
fn an_outage_overrules_everything_and_ends() {
    let stand_in = SendGridStandIn::start();
    let mut connection = Connection::to(&stand_in);
    stand_in.answer_all(Some(SendGridAnswer::Status(500)));
    assert_eq!(connection.mail("job", "ada@a.example").unwrap().0, 500);
    stand_in.answer_all(Some(SendGridAnswer::Hang));
    let mut hanging = Connection::to(&stand_in);
    hanging.send(&request(&mail("job", "ada@a.example"), ""));
    stand_in.answer_all(None);
    assert_eq!(connection.mail("job", "ada@a.example").unwrap().0, 202);
    assert_eq!(stand_in.accepted(), 1);
}

#[test]
fn a_script_sees_the_call_and_may_leave_it_to_the_recipient() {
    let stand_in = SendGridStandIn::start();
    stand_in.script(|call| (call.job_id.as_deref() == Some("odd")).then_some(SendGridAnswer::Status(503)));
    let mut connection = Connection::to(&stand_in);
    assert_eq!(connection.mail("odd", "ada@a.example").unwrap().0, 503);
    assert_eq!(connection.mail("even", "r413@a.example").unwrap().0, 413);
}

#[test]
fn a_wrong_key_or_a_body_sendgrid_would_refuse_is_refused() {
    let stand_in = SendGridStandIn::start();
    let mut connection = Connection::to(&stand_in);
    let good = mail("job", "ada@a.example");
    connection.send(&request(&good, "Authorization: Bearer wrong\r\n"));
    assert_eq!(connection.answer().unwrap().0, 401);
    let key = "Authorization: Bearer SG.stand-in\r\n";
    for field in ["personalizations", "from", "subject", "content"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(field);
        connection.send(&request(&bad, key));
        let (status, _, body) = connection.answer().unwrap();
        assert_eq!(status, 400);
        assert!(body.contains(field), "{body}");
    }
    connection.send("GET /v3/mail/send HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.answer().unwrap().0, 405);
    assert_eq!(stand_in.accepted(), 0);
}

#[test]
fn a_chunked_body_after_100_continue_is_read_too() {
    let stand_in = SendGridStandIn::start();
    let mut connection = Connection::to(&stand_in);
    connection.send(
        "POST /v3/mail/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
         Authorization: Bearer SG.stand-in\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(connection.answer().unwrap().0, 100);
    let body = mail("chunks", "ada@a.example").to_string();
    let (first, second) = body.split_at(10);
    connection
        .send(&format!("a\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\nX-Trailer: 1\r\n\r\n", second.len()));
    assert_eq!(connection.answer().unwrap().0, 202);
    assert_eq!(connection.mail("next", "ada@a.example").unwrap().0, 202);
    assert_eq!(stand_in.accepted_by_job().len(), 2);
}
