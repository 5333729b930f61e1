use proptest::prelude::*;

use super::*;

const LONGEST: Duration = Duration::from_secs(4 * 3600);

fn reply(line: &str) -> Reply {
    let (code, text) = line.split_once(' ').unwrap_or((line, ""));
    Reply { code: code.parse().unwrap(), text: text.to_owned() }
}

/// Lines with scope, category and wait in seconds, 0 for none named.
fn check(cases: &[(&str, DeferralScope, Category, u64)]) {
    for (line, scope, category, seconds) in cases {
        let retry_after = (*seconds > 0).then(|| Duration::from_secs(*seconds));
        let expected = Throttle { scope: *scope, category: *category, retry_after };
        assert_eq!(read(&reply(line)), Some(expected), "{line:?}");
    }
}

#[test]
fn what_a_mailbox_provider_says_of_us_slows_its_domain_group() {
    check(&[
        ("421 4.7.28 Gmail has detected an unusual rate of email.", DomainGroup, Throttled, 600),
        ("421 4.7.28 Gmail has detected this message exceeded its quota", DomainGroup, Throttled, 600),
        ("421 4.7.0 an unusual rate of unsolicited mail originating", DomainGroup, Throttled, 600),
        (
            "421 4.7.28 mail sent from your IP address has been temporarily rate limited",
            DomainGroup,
            Throttled,
            600,
        ),
        ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", DomainGroup, Throttled, 7_200),
        ("421 4.7.0 [TS04] Messages temporarily deferred", DomainGroup, Throttled, 7_200),
        ("421 4.7.0 [TSS05] Messages temporarily deferred", DomainGroup, Throttled, 14_400),
        ("421 [IPTS04] Messages temporarily deferred", DomainGroup, Throttled, 7_200),
        ("421 [IPTS05] Messages temporarily deferred", DomainGroup, Throttled, 14_400),
        ("421 4.7.0 [TS01] Messages temporarily deferred due to complaints", DomainGroup, Throttled, 0),
        ("421 4.7.1 [TS03] All messages permanently deferred", DomainGroup, Throttled, 0),
        ("451 [TS02] deferred", DomainGroup, Throttled, 0),
        ("451 4.7.1 Messages temporarily deferred due to volume", DomainGroup, Throttled, 0),
        ("553 Mail from 192.0.2.1 not allowed - VS98-IP0 deferred", DomainGroup, Throttled, 3_600),
        ("421 RP-001 (BAY0-MC1-F1) The mail server IP has exceeded", DomainGroup, Throttled, 1_800),
        ("421 RP-002 (BAY0-MC1-F1) exceeded on this connection", DomainGroup, Throttled, 0),
        (
            "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited (S775)",
            DomainGroup,
            Throttled,
            1_800,
        ),
        ("451 4.7.651 The mail server [192.0.2.1] (S3114)", DomainGroup, Throttled, 1_800),
        ("451 4.7.500 Server busy. Please try again later (S77719)", DomainGroup, Throttled, 1_800),
        ("451 4.7.500-699 (ASB508) Access denied, please try again later", DomainGroup, Throttled, 3_600),
        (
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent (S3150)",
            DomainGroup,
            Throttled,
            3_600,
        ),
        ("421 [HCM1] Your mail from 192.0.2.1 was deferred.", DomainGroup, Throttled, 900),
        ("451 [BS02] Temporary server error.", DomainGroup, Throttled, 900),
        ("550 Ip frequency limited", DomainGroup, Throttled, 3_600),
        ("550 Domain frequency limited [192.0.2.1]", DomainGroup, Throttled, 3_600),
        ("550 Sender frequency limited", DomainGroup, Throttled, 3_600),
        ("550 Connection frequency limited", DomainGroup, Throttled, 3_600),
        ("451 DT:SPM, please try again", DomainGroup, Throttled, 900),
        ("451 MI:SFQ 163 smtp1", DomainGroup, Throttled, 900),
        ("451 RP:QRC 163 smtp1", DomainGroup, Throttled, 0),
        ("550 RP:ORQ 163 smtp1", DomainGroup, Throttled, 3_600),
        ("554 HL:ITC 163 smtp1", DomainGroup, Throttled, 3_600),
        ("421 4.1.0 Throttled - try again later. RL000010", DomainGroup, Throttled, 0),
    ]);
}

#[test]
fn gmail_s_word_on_one_recipient_slows_nobody_else() {
    check(&[
        (
            "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
            Recipient,
            Throttled,
            600,
        ),
        ("450 4.2.1 The user is receiving mail too quickly.", Recipient, Throttled, 600),
        ("550 5.2.1 The user is receiving mail at a rate that prevents", Recipient, Throttled, 600),
    ]);
}

#[test]
fn what_an_esp_says_of_its_account_slows_the_esp() {
    check(&[
        ("454 Throttling failure: Maximum sending rate exceeded.", Esp, Throttled, 0),
        ("454 Throttling failure: Daily message quota exceeded.", Esp, Quota, 600),
        ("550 5.4.5 Daily user sending limit exceeded.", Esp, Quota, 0),
        ("550 5.7.1 Daily SMTP relay limit exceeded for customer.", Esp, Quota, 0),
        ("450 4.2.1 Peak SMTP relay limit exceeded for customer.", Esp, Throttled, 0),
        ("454 4.7.0 Too many login attempts, please try again later.", Esp, Throttled, 0),
        ("421 4.4.2 Message submission rate for this client has exceeded", Esp, Throttled, 0),
        ("450 4.7.1 Error: too much mail from 192.0.2.1", Esp, Throttled, 60),
        ("450 4.7.1 Error: too many recipients from 192.0.2.1", Esp, Throttled, 60),
    ]);
}

#[test]
fn too_many_connections_slow_the_esp_for_a_minute() {
    for line in [
        "421 Too many connections",
        "554 too many connections from your address",
        "421 4.7.0 mx.example Error: too many connections from 192.0.2.1",
        "421 Too many concurrent SMTP connections; please try again later.",
        "421 Too many sessions opened",
        "450 too frequent connects from 192.0.2.1, please try again later.",
        "421 mwinf5c04 ME Trop de connexions, veuillez verifier votre configuration.",
        "421 RP-003 (BAY0-MC1-F1) exceeded the connection limit allowed",
        "451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)",
        "421 Connection refused from 192.0.2.1 due to exceed max concurrent connections. IB007",
        "432 4.3.2 Concurrent connections limit exceeded.",
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        "421 HL:ICC 163 smtp1",
    ] {
        check(&[(line, Esp, Throttled, 60)]);
    }
}

#[test]
fn a_connection_that_has_carried_its_last_message_is_no_throttle() {
    for line in [
        "421 Max message per connection reached, closing transmission channel",
        "421 4.7.0 Max message per connection reached",
        "451 4.7.653 The mail server has exceeded maximum number of messages per connection",
        "421 too many messages in this connection",
        "421 Too many messages for this session",
        "451 MI:DMC 163 smtp1",
    ] {
        assert!(connection_is_used_up(&reply(line)), "{line:?}");
        assert_eq!(read(&reply(line)), None, "{line:?}");
    }
    assert!(!connection_is_used_up(&reply("421 Too many connections")));
    assert!(!connection_is_used_up(&reply("550 messages per connection")));
}

#[test]
fn a_sign_counts_only_with_its_class_and_never_within_an_address_or_a_number() {
    for line in [
        "550 5.7.28 unusual",
        "550 5.7.1 [TSS04]",
        "450 Domain frequency limited",
        "550 5.1.1 <frequency.limited@a.example>: \"frequency limited\"@a.example",
        "451 4.3.0 [14.7.28.1] try later",
        "451 4.3.0 your address 4.7.650.1",
        "450 4.2.1 busy",
        "452 4.2.2 full",
        "454 4.7.0 Temporary authentication failure",
    ] {
        let found = read(&reply(line));
        // The quoted local part ends at its space: half of it is left, and is no sign.
        assert_eq!(found, None, "{line:?}");
    }
}

#[test]
fn a_row_is_found_as_it_is_written_and_waits_four_hours_at_most() {
    for (classes, sign, _, _, retry_after) in ROWS {
        assert!(retry_after.is_none_or(|wait| !wait.is_zero() && wait <= LONGEST), "{sign:?}");
        for class in *classes {
            let text = match sign {
                Words(words) => (*words).to_owned(),
                Code(subject, detail) => format!("{class}.{subject}.{detail} words"),
            };
            assert!(read(&Reply { code: class * 100 + 50, text }).is_some(), "{class} {sign:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_reply_waits_four_hours_at_most(code in 400_u16..600, text in "\\PC{0,400}|4\\.7\\.[0-9]{1,3} .{0,20}|.{0,10}\\[TSS05\\].{0,10}") {
        let wait = read(&Reply { code, text }).and_then(|it| it.retry_after);
        prop_assert!(wait.is_none_or(|wait| wait <= LONGEST));
    }
}
