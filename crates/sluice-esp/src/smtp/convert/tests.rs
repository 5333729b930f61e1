use proptest::prelude::*;

use sluice_types::Category::Quota;

use super::*;

fn reply(line: &str) -> Reply {
    let (code, text) = line.split_once(' ').unwrap_or((line, ""));
    Reply { code: code.parse().unwrap(), text: text.to_owned() }
}

fn check(phase: Phase, cases: &[(&str, Verdict)]) {
    for (line, expected) in cases {
        let seen = match refused(phase, &reply(line)) {
            Outcome::Deferred { scope, category, .. } => Defer(scope, category),
            Outcome::Rejected { category, .. } => Reject(category),
            Outcome::Faulted { category, .. } => Fault(category),
            other => unreachable!("{line:?} at {phase:?}: {other:?}"),
        };
        assert_eq!(seen, *expected, "{line:?} at {phase:?}");
    }
}

#[test]
fn a_refused_recipient_is_told_by_its_code() {
    check(
        Phase::Rcpt,
        &[
            ("550 5.1.1 no such mailbox", Reject(RecipientUnknown)),
            ("553 5.1.2 bad domain", Reject(RecipientUnknown)),
            ("553 5.1.3 bad syntax", Reject(RecipientUnknown)),
            ("550 5.1.10 null MX", Reject(RecipientUnknown)),
            ("550 5.1.8 sender's domain not found", Reject(SenderConfig)),
            ("550 5.2.1 inactive", Reject(RecipientUnavailable)),
            ("552 5.2.2 full", Reject(RecipientUnavailable)),
            ("550 5.4.1 access denied", Reject(RecipientUnknown)),
            ("550 5.5.0 mailbox unavailable", Reject(RecipientUnknown)),
            ("550 5.7.1 blocked", Reject(Policy)),
            ("550 5.7.17 owner changed", Reject(RecipientUnknown)),
            ("550 5.4.5 daily sending quota exceeded", Defer(Esp, Quota)),
            ("550 no", Reject(RecipientUnknown)),
            ("551", Reject(RecipientUnknown)),
            ("552 full", Reject(RecipientUnavailable)),
            ("553 no", Reject(RecipientUnknown)),
            ("554 no", Reject(Policy)),
            ("554 delivery error: no such account here", Reject(RecipientUnknown)),
            ("550 Domain frequency limited [1.2.3.4]", Defer(DomainGroup, Throttled)),
            ("530 5.7.0 authentication required", Fault(Auth)),
            ("535 5.7.8 bad credentials", Fault(Auth)),
            ("503 5.5.1 need MAIL", Fault(Protocol)),
            ("500 what", Fault(Protocol)),
            ("421 4.7.28 unusual rate", Defer(DomainGroup, Throttled)),
            ("421 RP-001 rate", Defer(DomainGroup, Throttled)),
            ("421 4.3.0 try later", Defer(DomainGroup, Temporary)),
            ("451 4.7.650 on our list", Defer(DomainGroup, Throttled)),
            ("421 4.7.26 unauthenticated", Defer(DomainGroup, SenderConfig)),
            ("421 4.7.0 Max message per connection reached", Defer(Recipient, Temporary)),
            ("450 4.7.0 [IP] slow down", Defer(DomainGroup, Throttled)),
            ("450 4.2.1 is receiving mail at a rate that", Defer(Recipient, Throttled)),
            ("450 4.2.1 Peak SMTP relay limit exceeded", Defer(Esp, Throttled)),
            ("450 4.2.1 busy", Defer(Recipient, RecipientUnavailable)),
            ("550 Sender verify failed: no such user here", Reject(SenderConfig)),
            ("550 too many connections", Defer(Esp, Throttled)),
            ("452 4.2.2 full", Defer(Recipient, RecipientUnavailable)),
            ("450 4.2.0 Greylisted, see ...", Defer(Recipient, Temporary)),
            ("451 4.7.1 Greylisting in action", Defer(Recipient, Temporary)),
            ("450 busy", Defer(Recipient, Temporary)),
            ("451 local error", Defer(Recipient, Temporary)),
            ("452 4.5.3 too many", Defer(Recipient, Temporary)),
            ("452 4.3.1 out of space", Defer(Esp, Temporary)),
            ("499", Defer(Recipient, Temporary)),
        ],
    );
}

#[test]
fn a_relay_that_does_not_relay_for_us_is_at_fault_and_not_the_recipient() {
    check(
        Phase::Rcpt,
        &[
            ("454 4.7.1 <ada@gmail.com>: Relay access denied", Fault(Auth)),
            ("554 5.7.1 <ada@gmail.com>: Relay access denied", Fault(Auth)),
            ("554 <ada@gmail.com>: Relay access denied", Fault(Auth)),
            ("550 5.7.1 Relaying denied", Fault(Auth)),
            ("550 5.7.1 <ada@gmail.com>... Relaying denied. IP name lookup failed [1.2.3.4]", Fault(Auth)),
            ("550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", Fault(Auth)),
            ("550 5.7.1 Unable to relay for ada@gmail.com", Fault(Auth)),
            ("550 5.7.64 TenantAttribution; Relay Access Denied [x.example]", Fault(Auth)),
            ("550 relay not permitted", Fault(Auth)),
            ("550 <ada@gmail.com>: relay not permitted", Fault(Auth)),
            // A relay that has asked the recipient's server says what that one said.
            (
                "550 5.1.1 <ada@a.example>: Recipient address rejected: undeliverable address: host mx.a.example[1.2.3.4] \
                 said: 554 5.7.1 <ada@a.example>: Relay access denied",
                Reject(RecipientUnknown),
            ),
            (
                "450 4.1.1 <ada@a.example>: Recipient address rejected: unverified address: host mx.a.example[1.2.3.4] \
                 said: 454 4.7.1 <ada@a.example>: Relay access denied",
                Defer(Recipient, Temporary),
            ),
            ("550 Callout verification failed: 550 relay not permitted", Reject(RecipientUnknown)),
            ("550 5.1.1 <relaying.denied@a.example> no such mailbox", Reject(RecipientUnknown)),
            ("550 5.1.1 relaying denied", Reject(RecipientUnknown)),
            ("550 5.7.1", Reject(Policy)),
        ],
    );
    // Later it is the message's path that is spoken of.
    check(Phase::Dot, &[("554 5.7.1 Relay access denied", Reject(Policy))]);
}

#[test]
fn a_refused_message_is_told_by_its_code() {
    for phase in [Phase::Data, Phase::Body, Phase::Dot] {
        check(
            phase,
            &[
                ("550 5.7.1 unsolicited", Reject(Policy)),
                ("550 5.7.26 DMARC", Reject(SenderConfig)),
                ("550 5.7.27 null MX sender", Reject(SenderConfig)),
                ("550 5.7.515 access denied", Reject(SenderConfig)),
                ("552 5.3.4 too large", Reject(Content)),
                ("552 5.2.3 too large", Reject(Content)),
                ("552 5.7.0 bad attachment", Reject(Content)),
                ("552 too large", Reject(Content)),
                ("554 5.6.0 bad MIME", Reject(Content)),
                ("550 spam", Reject(Policy)),
                ("554 transaction failed", Reject(Policy)),
                ("554 5.3.2 not accepting", Fault(ServerError)),
                ("571 refused", Reject(Policy)),
                ("454 Throttling failure: Maximum sending rate exceeded.", Defer(Esp, Throttled)),
                ("454 Throttling failure: Daily message quota exceeded.", Defer(Esp, Quota)),
                ("421 4.7.0 [TS01] deferred", Defer(DomainGroup, Throttled)),
                ("451 4.3.0 try later", Defer(Recipient, Temporary)),
            ],
        );
    }
}

#[test]
fn an_account_that_is_stopped_is_at_fault_and_not_the_message() {
    for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Dot] {
        check(
            phase,
            &[
                (
                    "554 Message rejected: Sending paused for this account. For more information, ...",
                    Fault(Account),
                ),
                ("554 Message rejected: Sending suspended for this account. For more ...", Fault(Account)),
                ("554 5.7.1 Message rejected: Sending paused for this account.", Fault(Account)),
                ("552 Your account has been suspended", Fault(Account)),
                ("550 5.2.1 your account is suspended.", Fault(Account)),
                (
                    "554 Message rejected: Email address is not verified. The following identities failed the check in \
                     region US-EAST-1: news@acme.example",
                    Reject(SenderConfig),
                ),
            ],
        );
    }
    // A relay that quotes another server does not speak of our account.
    check(
        Phase::Dot,
        &[
            ("550 host x said: 554 Message rejected: Sending paused for this account.", Reject(Policy)),
            ("552 host x said: 552 Your account has been suspended", Reject(Content)),
            ("554 host x said: Message rejected: Email address is not verified", Reject(Policy)),
            ("451 Your account has been suspended", Defer(Recipient, Temporary)),
        ],
    );
}

#[test]
fn a_refused_sender_is_never_the_recipient_s_fault() {
    check(
        Phase::Mail,
        &[
            ("550 5.1.0 rejected", Reject(SenderConfig)),
            ("553 5.1.8 domain not found", Reject(SenderConfig)),
            ("553 5.7.1 not owned by user", Reject(SenderConfig)),
            ("550 no", Reject(SenderConfig)),
            ("501 bad address", Reject(SenderConfig)),
            ("530 5.7.0 STARTTLS first", Fault(Auth)),
            ("550 no such user", Reject(SenderConfig)),
            ("421 too many messages", Defer(Esp, Throttled)),
            ("421 too many messages in this connection", Defer(Recipient, Temporary)),
            ("450 4.7.1 slow down", Defer(Esp, Throttled)),
            ("421 4.7.0 [TSS04] deferred", Defer(Esp, Throttled)),
            ("550 Ip frequency limited", Defer(Esp, Throttled)),
        ],
    );
}

#[test]
fn a_refusal_before_the_first_message_is_the_esp_s() {
    for phase in [Phase::Connect, Phase::Hello] {
        check(
            phase,
            &[
                ("421 too many connections", Defer(Esp, Throttled)),
                ("450 4.7.1 slow", Defer(Esp, Throttled)),
                ("421 4.7.0 [TSS04] deferred", Defer(Esp, Throttled)),
                ("554 too many connections", Defer(Esp, Throttled)),
                ("451 busy", Fault(ServerError)),
                ("554 no service", Fault(ServerError)),
                ("554 5.7.1 your address is blocked", Fault(Account)),
            ],
        );
    }
    check(Phase::Tls, &[("454 TLS not available", Fault(Tls)), ("502", Fault(Tls))]);
    check(
        Phase::Auth,
        &[
            ("535 5.7.8 no", Fault(Auth)),
            ("530 5.7.0 no", Fault(Auth)),
            ("504 mechanism", Fault(Auth)),
            ("535 5.7.8 no such user", Fault(Auth)),
            ("535 Login fail. Password is incorrect, login frequency limited", Fault(Auth)),
            ("454 4.7.0 temporary", Fault(ServerError)),
            ("451 Authentication failed: Maximum credits exceeded", Fault(Account)),
            ("535 Authentication failed: Maximum credits exceeded", Fault(Account)),
            ("454 4.7.0 Too many login attempts", Defer(Esp, Throttled)),
            ("454 Throttling failure: Daily message quota exceeded.", Defer(Esp, Quota)),
            ("421 later", Defer(Esp, Throttled)),
        ],
    );
}

#[test]
fn only_a_loss_after_the_final_dot_is_unknown() {
    use Phase::*;
    let losses = [Loss::Timeout, Loss::Broken("reset".into()), Loss::Garbage];
    for phase in [Connect, Phase::Tls, Hello, Phase::Auth, Mail, Rcpt, Data, Body] {
        for loss in &losses {
            assert!(matches!(lost(phase, loss), Outcome::Faulted { .. }), "{phase:?} {loss:?}");
        }
    }
    for loss in &losses {
        assert!(matches!(lost(Dot, loss), Outcome::Unknown { .. }), "{loss:?}");
    }
}

#[test]
fn a_queue_id_is_found_where_there_is_one() {
    for (text, id) in [
        ("2.0.0 Ok: queued as 4XyZ12", Some("4XyZ12")),
        ("2.0.0 Ok: queued as BDF1A2B3C4", Some("BDF1A2B3C4")),
        ("Ok: queued as AbCdEfGhIj", Some("AbCdEfGhIj")),
        ("OK id=1qABcD-0001xY-2f", Some("1qABcD-0001xY-2f")),
        ("2.6.0 <a@b.cc> [InternalId=8624, Hostname=X.example] Queued mail for delivery", Some("8624")),
        (
            "2.0.0 OK  1699999999 a1-20020a05600c0a0100b003fe1fe56202si123 - gsmtp",
            Some("a1-20020a05600c0a0100b003fe1fe56202si123"),
        ),
        ("Ok 0102018c0a1b2c3d-11112222-0000", Some("0102018c0a1b2c3d-11112222-0000")),
        ("2.0.0 3f2a91bc Message accepted for delivery", Some("3f2a91bc")),
        ("Message Queued (5A1F2B3C-0000-4444.1)", Some("5A1F2B3C-0000-4444.1")),
        ("2.0.0 Ok", None),
        ("Great success", None),
        ("queued as", None),
        ("queued as ada@gmail.com", None),
        ("id=ada@gmail.com", None),
        ("", None),
    ] {
        assert_eq!(queue_id(text).as_deref(), id, "{text:?}");
    }
}

#[test]
fn a_detail_has_no_address() {
    let outcome = refused(Phase::Rcpt, &reply("550 5.1.1 <ada@gmail.com>: unknown"));
    assert_eq!(outcome.detail(), "550 5.1.1 [address] unknown");
}

#[test]
fn a_throttle_keeps_the_wait_that_its_words_are_known_for() {
    for (phase, line, scope, seconds) in [
        (Phase::Hello, "421 Too many connections", Esp, Some(60)),
        (Phase::Mail, "421 4.7.0 [TSS05] deferred", Esp, Some(14_400)),
        (Phase::Rcpt, "421 4.7.0 [TSS05] deferred", DomainGroup, Some(14_400)),
        (Phase::Rcpt, "451 4.7.1 slow down", DomainGroup, None),
    ] {
        let outcome = refused(phase, &reply(line));
        let expected = Outcome::Deferred {
            retry_after: seconds.map(std::time::Duration::from_secs),
            scope,
            category: Throttled,
            detail: line.to_owned(),
        };
        assert_eq!(outcome, expected);
    }
}

proptest! {
    #[test]
    fn any_reply_has_an_outcome_of_its_class(code in 0_u16..1000, text in "\\PC{0,60}|[2-5]\\.[0-9]{1,4}\\.[0-9]{1,4} .{0,20}") {
        for phase in [Phase::Connect, Phase::Tls, Phase::Hello, Phase::Auth, Phase::Mail, Phase::Rcpt, Phase::Data, Phase::Body, Phase::Dot] {
            let outcome = refused(phase, &Reply { code, text: text.clone() });
            let accepted_or_unknown = matches!(outcome, Outcome::Accepted { .. } | Outcome::Unknown { .. });
            prop_assert!(!accepted_or_unknown);
            if code / 100 == 4 {
                let rejected = matches!(outcome, Outcome::Rejected { .. });
                prop_assert!(!rejected);
            }
        }
    }

    #[test]
    fn any_text_has_a_clean_queue_id_or_none(text in "\\PC{0,80}|[ -~]{0,80}|queued as [ -~]{0,200}") {
        if let Some(id) = queue_id(&text) {
            prop_assert!(id.bytes().all(|b| b.is_ascii_graphic() && b != b'@') && id.len() <= 128);
        }
    }
}
