//! Replies that ask us to slow down, told by the words and codes that providers use. Pure.
//!
//! Only what a code of RFC 3463 does not tell already: 4.7.x and a bare 421 count as a throttle without being listed here.
//! The marks and waits are from, as of November 2026:
//!
//! - KumoMTA's shaping rules, `assets/policy-extras/shaping.toml` and `assets/community/shaping.toml`: how long it suspends
//!   a destination after such a reply, without the count that it waits for first;
//! - Gmail's advice to bulk senders: after rate errors stop for at least 10 minutes; and its list "Gmail SMTP errors and
//!   codes" (support.google.com/a/answer/3726730);
//! - Amazon SES, "Errors related to the sending quotas" (manage-sending-quotas-errors): wait for up to 10 minutes;
//! - Outlook.com's postmaster pages (RP-001 to RP-003), and Microsoft's note on SMTP AUTH (4.3.2, concurrent connections);
//! - NetEase's table of refusals for 163.com;
//! - Postfix, ANVIL(8): a client's rates are counted per 60 s.
//!
//! A relay that passes a recipient's server's words on lets that server pick a row. So no row waits longer than 4 h, no
//! number is ever read out of a reply, and only its first 300 characters are searched.

use std::time::Duration;

use sluice_types::Category::{Quota, Throttled};
use sluice_types::DeferralScope::{DomainGroup, Esp, Recipient};
use sluice_types::{Category, DeferralScope};

use super::reply::Reply;
use Sign::{Code, Words};

/// A wish that we slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttle {
    /// Whom it concerns: a domain group where a mailbox provider speaks of our address, domain or volume.
    pub(super) scope: DeferralScope,
    /// `throttled`, or `quota` for a long window.
    pub(super) category: Category,
    /// How long the published practice waits, if it names a time.
    pub(super) retry_after: Option<Duration>,
}

/// What a reply is known by.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// Words within the text, in lower case.
    Words(&'static str),
    /// Subject and detail of the enhanced code.
    Code(u16, u16),
}

/// Classes of reply codes, the sign, and what it means.
type Row = (&'static [u16], Sign, DeferralScope, Category, Option<Duration>);

const TEMPORARY: &[u16] = &[4];
const PERMANENT: &[u16] = &[5];
/// Some say it with a permanent code although it passes.
const ANY: &[u16] = &[4, 5];

const NONE_NAMED: Option<Duration> = None;
const MINUTE: Option<Duration> = minutes(1);
const GMAIL_PAUSE: Option<Duration> = minutes(10);
const SES_PAUSE: Option<Duration> = minutes(10);
const HOUR: Option<Duration> = minutes(60);

const fn minutes(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(60 * count))
}

/// The first row that fits counts.
const ROWS: &[Row] = &[
    // Connections: too many between us and the relay. Over as soon as some are closed.
    (ANY, Words("too many connections"), Esp, Throttled, MINUTE),
    (ANY, Words("too many concurrent"), Esp, Throttled, MINUTE),
    (ANY, Words("too many sessions"), Esp, Throttled, MINUTE),
    (ANY, Words("too frequent connects"), Esp, Throttled, MINUTE),
    (ANY, Words("trop de connexions"), Esp, Throttled, MINUTE),
    (ANY, Words("maximum number of connections"), Esp, Throttled, MINUTE),
    (ANY, Words("max concurrent connections"), Esp, Throttled, MINUTE),
    (TEMPORARY, Code(7, 652), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("rp-003"), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("hl:icc"), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("concurrent connection limit exceeded"), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("concurrent connections limit exceeded"), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("sender thread limit exceeded"), Esp, Throttled, MINUTE),
    // Amazon SES, with 454.
    (TEMPORARY, Words("daily message quota exceeded"), Esp, Quota, SES_PAUSE),
    (TEMPORARY, Words("throttling failure"), Esp, Throttled, NONE_NAMED),
    // Gmail as a relay for Workspace; 5.4.5 is the quota of one of its users.
    (PERMANENT, Code(4, 5), Esp, Quota, NONE_NAMED),
    (ANY, Words("daily smtp relay"), Esp, Quota, NONE_NAMED),
    (ANY, Words("peak smtp relay limit"), Esp, Throttled, NONE_NAMED),
    (TEMPORARY, Words("too many login attempts"), Esp, Throttled, NONE_NAMED),
    // Exchange and Postfix as relays.
    (TEMPORARY, Words("message submission rate for this client"), Esp, Throttled, NONE_NAMED),
    (TEMPORARY, Words("too much mail from"), Esp, Throttled, MINUTE),
    (TEMPORARY, Words("too many recipients from"), Esp, Throttled, MINUTE),
    // Gmail's word on one recipient: 450 4.2.1, and 550 5.2.1 too.
    (ANY, Words("receiving mail at a rate"), Recipient, Throttled, GMAIL_PAUSE),
    (ANY, Words("receiving mail too quickly"), Recipient, Throttled, GMAIL_PAUSE),
    // Gmail's word on our address, domain, links or volume; with 4.7.0 until 2023.
    (TEMPORARY, Code(7, 28), DomainGroup, Throttled, GMAIL_PAUSE),
    (TEMPORARY, Words("unusual rate of"), DomainGroup, Throttled, GMAIL_PAUSE),
    // Yahoo.
    (TEMPORARY, Words("[ts04]"), DomainGroup, Throttled, minutes(120)),
    (TEMPORARY, Words("[tss04]"), DomainGroup, Throttled, minutes(120)),
    (TEMPORARY, Words("[tss05]"), DomainGroup, Throttled, minutes(240)),
    (TEMPORARY, Words("[ipts04]"), DomainGroup, Throttled, minutes(120)),
    (TEMPORARY, Words("[ipts05]"), DomainGroup, Throttled, minutes(240)),
    (TEMPORARY, Words("[ts0"), DomainGroup, Throttled, NONE_NAMED),
    (TEMPORARY, Words("temporarily deferred due to"), DomainGroup, Throttled, NONE_NAMED),
    (PERMANENT, Words("vs98-ip0 deferred"), DomainGroup, Throttled, HOUR),
    // Outlook.
    (TEMPORARY, Code(7, 650), DomainGroup, Throttled, minutes(30)),
    (TEMPORARY, Code(7, 651), DomainGroup, Throttled, minutes(30)),
    (TEMPORARY, Words("temporarily rate limited"), DomainGroup, Throttled, minutes(30)),
    (TEMPORARY, Words("rp-001"), DomainGroup, Throttled, minutes(30)),
    (TEMPORARY, Words("rp-002"), DomainGroup, Throttled, NONE_NAMED),
    (TEMPORARY, Code(7, 500), DomainGroup, Throttled, minutes(30)),
    (TEMPORARY, Words("access denied, please try again later"), DomainGroup, Throttled, HOUR),
    // A block of our addresses, which does not mean this one message.
    (PERMANENT, Words("(s3140)"), DomainGroup, Throttled, HOUR),
    (PERMANENT, Words("(s3150)"), DomainGroup, Throttled, HOUR),
    // Apple.
    (TEMPORARY, Words("[hcm1]"), DomainGroup, Throttled, minutes(15)),
    (TEMPORARY, Words("[bs02]"), DomainGroup, Throttled, minutes(15)),
    // QQ, with 550 for the address, the domain, the sender and the connection.
    (PERMANENT, Words("frequency limited"), DomainGroup, Throttled, HOUR),
    // NetEase.
    (TEMPORARY, Words("dt:spm"), DomainGroup, Throttled, minutes(15)),
    (TEMPORARY, Words("mi:sfq"), DomainGroup, Throttled, minutes(15)),
    (TEMPORARY, Words("rp:qrc"), DomainGroup, Throttled, NONE_NAMED),
    (PERMANENT, Words("rp:orq"), DomainGroup, Throttled, HOUR),
    (PERMANENT, Words("hl:itc"), DomainGroup, Throttled, HOUR),
    // Comcast.
    (TEMPORARY, Words("rl0000"), DomainGroup, Throttled, NONE_NAMED),
];

/// What a server says that wants no further message over this connection, but takes them over the next one: Yahoo,
/// Outlook, NetEase, Exim and others.
const USED_UP: [&str; 7] = [
    "message per connection",
    "messages per connection",
    "messages in this connection",
    "messages in one connection",
    "messages for this session",
    "messages in this session",
    "mi:dmc",
];

/// Whether, and how, `reply` asks us to slow down.
pub(super) fn read(reply: &Reply) -> Option<Throttle> {
    if connection_is_used_up(reply) {
        return None;
    }
    let (words, code) = (reply.words(), reply.enhanced());
    let fits = |sign: &Sign| match *sign {
        Words(sign) => words.contains(sign),
        Code(subject, detail) => code == Some((subject, detail)),
    };
    ROWS.iter()
        .find(|(classes, sign, ..)| classes.contains(&reply.class()) && fits(sign))
        .map(|&(_, _, scope, category, retry_after)| Throttle { scope, category, retry_after })
}

/// Whether `reply` is about the number of messages that this one connection has carried.
pub(super) fn connection_is_used_up(reply: &Reply) -> bool {
    let words = reply.words();
    reply.class() == 4 && USED_UP.iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests;
