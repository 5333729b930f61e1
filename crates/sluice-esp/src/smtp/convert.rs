//! What a relay's reply, or its absence, means. Pure.

use sluice_types::{Category, DeferralScope, Outcome, clean_detail};

use super::own_words;
use super::reply::Reply;
use super::throttle::{self, Throttle};

/// How far the dialogue has come; its order decides between `Faulted` and `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Resolving the name and connecting.
    Connect,
    /// The TLS handshake, or STARTTLS before it.
    Tls,
    /// The greeting and EHLO.
    Hello,
    /// AUTH.
    Auth,
    /// RSET and MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// Writing the message; the final dot has not been written.
    Body,
    /// The final dot may have been written.
    Dot,
}

impl Phase {
    const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Tls => "starting TLS",
            Self::Hello => "EHLO",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "writing the message",
            Self::Dot => "the final dot",
        }
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The account's timeout passed.
    Timeout,
    /// The connection could not be made or was lost.
    Broken(String),
    /// What came is not a reply, or not one to the command.
    Garbage,
    /// No encryption although it is required.
    NoTls,
    /// No AUTH mechanism that we speak.
    NoAuth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Defer(DeferralScope, Category),
    Reject(Category),
    Fault(Category),
}

use Category::{
    Account, Auth, Connect, Content, Policy, Protocol, RecipientUnavailable, RecipientUnknown, SenderConfig,
    ServerError, Temporary, Throttled, Timeout, Tls,
};
use DeferralScope::{DomainGroup, Esp, Recipient};
use Verdict::{Defer, Fault, Reject};

/// The outcome of a message that the relay refused with `reply` in `phase`.
pub(super) fn refused(phase: Phase, reply: &Reply) -> Outcome {
    let detail = clean_detail(&format!("{} {}", reply.code, reply.text));
    if let Some(Throttle { scope, category, retry_after }) = throttled(phase, reply) {
        return Outcome::Deferred { retry_after, scope, category, detail };
    }
    match verdict(phase, reply) {
        Defer(scope, category) => Outcome::Deferred { retry_after: None, scope, category, detail },
        Reject(category) => Outcome::Rejected { category, detail },
        Fault(category) => Outcome::Faulted { category, detail },
    }
}

/// The outcome of a message to which no reply came in `phase`. From the final dot on it may have been taken.
pub(super) fn lost(phase: Phase, loss: &Loss) -> Outcome {
    let step = phase.word();
    let (category, detail) = match loss {
        Loss::Timeout if phase == Phase::Connect => (Connect, "connecting took too long".to_owned()),
        Loss::Timeout => (Timeout, format!("no answer in time at {step}")),
        Loss::Broken(why) if phase == Phase::Connect => (Connect, format!("could not connect: {why}")),
        Loss::Broken(why) if phase == Phase::Tls => (Tls, format!("the TLS handshake failed: {why}")),
        Loss::Broken(why) => (Connect, format!("the connection was lost at {step}: {why}")),
        Loss::Garbage => (Protocol, format!("the answer at {step} is not an SMTP reply to it")),
        Loss::NoTls => (Tls, "the server does not offer STARTTLS, which is required".to_owned()),
        Loss::NoAuth => (Auth, "the server offers neither AUTH PLAIN nor AUTH LOGIN".to_owned()),
    };
    let detail = clean_detail(&detail);
    if phase == Phase::Dot { Outcome::Unknown { detail } } else { Outcome::Faulted { category, detail } }
}

/// The relay's queue id, out of free text such as `2.0.0 Ok: queued as 4XyZ12`.
pub(super) fn queue_id(text: &str) -> Option<String> {
    let words =
        || text.split(|c: char| c.is_whitespace() || "<>[]()\"',;".contains(c)).filter(|w| !w.is_empty());
    let named = words().find_map(|word| {
        let (key, id) = word.split_once('=')?;
        (key.eq_ignore_ascii_case("id") || key.eq_ignore_ascii_case("InternalId")).then_some(id)
    });
    let queued_as = || {
        let mut words = words().skip_while(|word| !word.eq_ignore_ascii_case("as"));
        words.next().and_then(|_| words.next())
    };
    let has_both = |word: &&str| {
        word.len() >= 8
            && word.bytes().any(|b| b.is_ascii_digit())
            && word.bytes().any(|b| b.is_ascii_alphabetic())
    };
    let plausible = |word: &&str| {
        (4..=128).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+/".contains(&b))
            && word.bytes().any(|b| b.is_ascii_alphanumeric())
    };
    named
        .filter(plausible)
        .or_else(|| queued_as().filter(plausible))
        .or_else(|| words().filter(plausible).find(has_both))
        .map(str::to_owned)
}

/// Where a provider's words say more than its code (ESP-specific wording as of November 2026), in lower case. Words that
/// ask us to slow down are in [`throttle`].
const PHRASES: [(u16, &str, Verdict); 7] = [
    // Exim asks the sender's server about the sender, and says so at RCPT with that server's words.
    (5, "sender verify failed", Reject(SenderConfig)),
    // Yahoo answers 552 and 554 for mailboxes that are not there.
    (5, "mailbox not found", Reject(RecipientUnknown)),
    (5, "no such account", Reject(RecipientUnknown)),
    (5, "no such user", Reject(RecipientUnknown)),
    (5, "user unknown", Reject(RecipientUnknown)),
    // Greylisting is about one recipient and says nothing of our rate.
    (4, "greylist", Defer(Recipient, Temporary)),
    (4, "graylist", Defer(Recipient, Temporary)),
];

/// A reply that asks us to slow down in words that we know, and whom that concerns.
///
/// Nothing tells the relay's own words from a mailbox provider's that it passes on. So: what only a relay says (of its
/// account, of connections to it) concerns the ESP, wherever [`throttle`] knows it; what comes before RCPT concerns the ESP
/// too, since nobody has heard of a recipient yet; all else is taken for the mailbox provider's, and concerns the domain
/// group or the recipient.
fn throttled(phase: Phase, reply: &Reply) -> Option<Throttle> {
    // A permanent refusal of AUTH is about the password, whatever else its words offer (QQ's name a frequency limit).
    if phase == Phase::Auth && reply.class() == 5 {
        return None;
    }
    let mut throttle = throttle::read(reply)?;
    if throttle.scope == DomainGroup {
        throttle.scope = scope(phase);
    }
    Some(throttle)
}

fn verdict(phase: Phase, reply: &Reply) -> Verdict {
    match (phase, reply.class()) {
        (Phase::Rcpt, 4 | 5) if own_words::relays_nothing(reply) => Fault(Auth),
        (_, 5) if phase >= Phase::Mail && own_words::account_is_stopped(reply) => Fault(Account),
        (_, 5) if phase >= Phase::Mail && own_words::sender_is_unverified(reply) => Reject(SenderConfig),
        (_, 4) if phase >= Phase::Mail => phrase(phase, reply).unwrap_or_else(|| temporary(phase, reply)),
        (_, 5) if phase >= Phase::Mail => phrase(phase, reply).unwrap_or_else(|| permanent(phase, reply)),
        (Phase::Connect | Phase::Hello, 4 | 5) => at_the_door(reply),
        (Phase::Tls, 4 | 5) => Fault(Tls),
        (Phase::Auth, 4 | 5) => authentication(reply),
        _ => Fault(Protocol),
    }
}

fn phrase(phase: Phase, reply: &Reply) -> Option<Verdict> {
    let words = reply.words();
    PHRASES
        .into_iter()
        .find(|(class, phrase, _)| *class == reply.class() && words.contains(phrase))
        .map(|(_, _, verdict)| verdict)
        // A user that is unknown at MAIL is the sender.
        .filter(|verdict| phase > Phase::Mail || *verdict != Reject(RecipientUnknown))
}

/// Instead of a greeting, or to EHLO: the relay will not speak with us at all.
fn at_the_door(reply: &Reply) -> Verdict {
    match (reply.code, reply.enhanced()) {
        (421, _) | (400..=499, Some((7, _))) => Defer(Esp, Throttled),
        (500..=599, Some((7, _))) => Fault(Account),
        _ => Fault(ServerError),
    }
}

/// To AUTH: RFC 4954 section 6. Whatever is permanent needs a person.
fn authentication(reply: &Reply) -> Verdict {
    match reply.code {
        _ if own_words::credits_are_used_up(reply) => Fault(Account),
        421 => Defer(Esp, Throttled),
        400..=499 => Fault(ServerError),
        _ => Fault(Auth),
    }
}

/// Whom a refusal without a better name concerns: before RCPT the relay does not know the recipient.
fn scope(phase: Phase) -> DeferralScope {
    if phase <= Phase::Mail { Esp } else { DomainGroup }
}

/// SPF, DKIM, DMARC, reverse DNS or TLS of the sender: x.7.20 to 27, 29, 30, 32, 40 (Gmail), 9 (Yahoo), 509 and 515
/// (Microsoft).
const fn is_sender_authentication(detail: u16) -> bool {
    matches!(detail, 9 | 20..=27 | 29 | 30 | 32 | 40 | 509 | 515)
}

fn temporary(phase: Phase, reply: &Reply) -> Verdict {
    // The next message gets a new connection; nobody has to slow down.
    if throttle::connection_is_used_up(reply) {
        return Defer(Recipient, Temporary);
    }
    match reply.enhanced() {
        Some((7, detail)) if is_sender_authentication(detail) => Defer(scope(phase), SenderConfig),
        Some((7, _)) => Defer(scope(phase), Throttled),
        Some((1, 7 | 8)) => Defer(Recipient, SenderConfig),
        Some((2, 1 | 2)) => Defer(Recipient, RecipientUnavailable),
        Some((3, 1 | 2)) => Defer(Esp, Temporary),
        Some(_) if reply.code == 421 => Defer(scope(phase), Temporary),
        None if reply.code == 421 => Defer(scope(phase), Throttled),
        Some(_) | None => Defer(Recipient, Temporary),
    }
}

fn permanent(phase: Phase, reply: &Reply) -> Verdict {
    let about_sender = phase == Phase::Mail;
    let address = if about_sender { SenderConfig } else { RecipientUnknown };
    match (reply.code, reply.enhanced()) {
        (525, _) => Fault(Account),
        (530 | 534 | 535 | 538, _) => Fault(Auth),

        (_, Some((1, 7 | 8))) => Reject(SenderConfig),
        (_, Some((1, _))) => Reject(address),

        (_, Some((2, 3))) => Reject(Content),
        (_, Some((2, _))) => Reject(RecipientUnavailable),

        (_, Some((3, 3 | 4))) => Reject(Content),
        // Sendmail says 5.3.0 for its access list.
        (_, Some((3, 0))) => Reject(Policy),
        (_, Some((3, _))) => Fault(ServerError),

        // Outlook says 5.4.1 for a tenant without such a recipient; 5.4.4 is a domain without a host.
        (_, Some((4, 1 | 4))) => Reject(RecipientUnknown),
        (_, Some((4, _))) => Reject(RecipientUnavailable),

        // Outlook says 550 5.5.0 for a mailbox that is not there.
        (550, Some((5, 0))) => Reject(address),
        (_, Some((5, _))) => Fault(Protocol),

        (_, Some((6, _))) => Reject(Content),

        (_, Some((7, 8))) => Fault(Auth),
        (_, Some((7, 13))) => Fault(Account),
        // The mailbox or its domain changed hands (RFC 7293).
        (_, Some((7, 17 | 18))) => Reject(RecipientUnknown),
        (_, Some((7, detail))) if is_sender_authentication(detail) => Reject(SenderConfig),
        (552, Some((7, _))) => Reject(Content),
        (_, Some((7, _))) if about_sender => Reject(SenderConfig),
        (_, Some((7, _))) => Reject(Policy),

        // Without an enhanced code, or with one that RFC 3463 does not know.
        (500 | 502 | 503 | 504 | 555, _) => Fault(Protocol),
        (501, _) if phase > Phase::Rcpt => Fault(Protocol),
        (552, _) if phase == Phase::Rcpt => Reject(RecipientUnavailable),
        (552, _) => Reject(Content),
        (501 | 521 | 550 | 551 | 553 | 556, _) if phase <= Phase::Rcpt => Reject(address),
        _ => Reject(Policy),
    }
}

#[cfg(test)]
mod tests;
