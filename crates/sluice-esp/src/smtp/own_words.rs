//! What a relay says of us with words of its own: that it does not relay for us, that our account is stopped. Pure.
//!
//! The words count only where they open the text. A relay that quotes a recipient's server (`host x said: 554 ...`) would
//! else let any such server close our account.

use super::reply::Reply;

/// What a relay says at RCPT that takes mail from us for its own domains only, in lower case: we should have logged in, or are no
/// longer on its list.
const NO_RELAY: [&str; 4] = [
    // Postfix, 554 5.7.1 or 454 4.7.1 (its default `defer_unauth_destination`); Exchange Online, 550 5.7.64.
    "relay access denied",
    // Sendmail, 550 5.7.1.
    "relaying denied",
    // Exchange, 550 5.7.54 or 5.7.1.
    "unable to relay",
    // Exim, 550.
    "relay not permitted",
];

/// What a relay says, with a permanent code and often only after the final dot, whose account is stopped, in lower case.
const STOPPED: [&str; 4] = [
    // Amazon SES, 554, as of November 2026.
    "message rejected: sending paused for this account",
    "message rejected: sending suspended for this account",
    // SMTP2GO, 552.
    "your account has been suspended",
    "your account is suspended",
];

/// Amazon SES, 554: nobody has shown that the sender's address or domain is theirs.
const UNVERIFIED: [&str; 2] =
    ["message rejected: email address is not verified", "email address is not verified"];

/// Whether the relay refuses to relay for us: its words come after nothing but a code 7.x, the recipient and a name with a semicolon.
pub(super) fn relays_nothing(reply: &Reply) -> bool {
    if reply.enhanced().is_some_and(|(subject, _)| subject != 7) {
        return false;
    }
    let words = reply.words();
    let mut rest = after_code(reply, &words);
    while let Some((word, after)) = rest.split_once(' ') {
        if word != "[address]" && !word.ends_with(';') {
            break;
        }
        rest = after;
    }
    NO_RELAY.iter().any(|words| rest.starts_with(words))
}

/// Whether the relay says that it takes nothing from our account any more.
pub(super) fn account_is_stopped(reply: &Reply) -> bool {
    opens_with(reply, &STOPPED)
}

/// Whether the relay says that the sender's address is not verified.
pub(super) fn sender_is_unverified(reply: &Reply) -> bool {
    opens_with(reply, &UNVERIFIED)
}

/// Whether the relay says that what was paid for is used up. At AUTH only, where no recipient's server has been asked.
pub(super) fn credits_are_used_up(reply: &Reply) -> bool {
    // SendGrid: 451 Authentication failed: Maximum credits exceeded.
    reply.words().contains("maximum credits exceeded")
}

fn opens_with(reply: &Reply, list: &[&str]) -> bool {
    let words = reply.words();
    let rest = after_code(reply, &words);
    list.iter().any(|opening| rest.starts_with(opening))
}

/// The words after an enhanced status code.
fn after_code<'a>(reply: &Reply, words: &'a str) -> &'a str {
    match reply.enhanced() {
        Some(_) => words.split_once(' ').map_or("", |(_, rest)| rest),
        None => words,
    }
}
