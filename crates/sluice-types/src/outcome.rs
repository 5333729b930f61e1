//! What an ESP's answer means.

use std::time::Duration;

use crate::{AttemptOutcome, Category};

/// Longest detail kept of an ESP's answer, in characters.
pub const DETAIL_MAX_CHARS: usize = 300;

/// Whom a deferral concerns, and so what has to slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeferralScope {
    /// This recipient alone (mailbox full, greylisting).
    Recipient,
    /// The recipient's domain group at this ESP.
    DomainGroup,
    /// Everything through this ESP account.
    Esp,
}

/// The result of handing one message to an ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The ESP took the message.
    Accepted {
        /// The ESP's own id for it, where it gives one.
        provider_message_id: Option<String>,
    },
    /// A temporary refusal.
    Deferred {
        /// The ESP's own hint; it beats our backoff.
        retry_after: Option<Duration>,
        /// What should slow down.
        scope: DeferralScope,
        /// In one word.
        category: Category,
        /// The ESP's words, cleaned by [`clean_detail`].
        detail: String,
    },
    /// A final refusal: recipient, content or policy.
    Rejected {
        /// In one word.
        category: Category,
        /// The ESP's words, cleaned.
        detail: String,
    },
    /// The ESP's side failed and has surely not taken the message; safe to try elsewhere.
    Faulted {
        /// In one word: connect, tls, timeout, server_error, protocol, auth, account.
        category: Category,
        /// What was seen, cleaned.
        detail: String,
    },
    /// The request was written and the answer lost: it may have been sent.
    Unknown {
        /// What was seen, cleaned.
        detail: String,
    },
}

impl Outcome {
    /// The word for `attempt.outcome`.
    #[must_use]
    pub const fn kind(&self) -> AttemptOutcome {
        match self {
            Self::Accepted { .. } => AttemptOutcome::Accepted,
            Self::Deferred { .. } => AttemptOutcome::Deferred,
            Self::Rejected { .. } => AttemptOutcome::Rejected,
            Self::Faulted { .. } => AttemptOutcome::Faulted,
            Self::Unknown { .. } => AttemptOutcome::Unknown,
        }
    }

    /// The category, where there is one to tell.
    #[must_use]
    pub const fn category(&self) -> Option<Category> {
        match self {
            Self::Accepted { .. } => None,
            Self::Deferred { category, .. }
            | Self::Rejected { category, .. }
            | Self::Faulted { category, .. } => Some(*category),
            Self::Unknown { .. } => Some(Category::AnswerLost),
        }
    }

    /// The detail, empty when accepted.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Accepted { .. } => "",
            Self::Deferred { detail, .. }
            | Self::Rejected { detail, .. }
            | Self::Faulted { detail, .. }
            | Self::Unknown { detail } => detail,
        }
    }
}

/// Makes an ESP's words fit to keep: no control characters, no addresses, at most [`DETAIL_MAX_CHARS`].
#[must_use]
pub fn clean_detail(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(DETAIL_MAX_CHARS));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !clean.is_empty() {
            clean.push(' ');
        }
        if word.contains('@') {
            clean.push_str("[address]")
        } else {
            clean.push_str(word)
        }
        if clean.len() > 4 * DETAIL_MAX_CHARS {
            break;
        }
    }
    match clean.char_indices().nth(DETAIL_MAX_CHARS) {
        Some((end, _)) => clean.get(..end).unwrap_or_default().to_owned(),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_short_line_without_addresses() {
        assert_eq!(
            clean_detail("550 5.1.1 <ada@gmail.com>:\r\n no such\tuser"),
            "550 5.1.1 [address] no such user"
        );
        assert_eq!(clean_detail(&"ä".repeat(5000)).chars().count(), DETAIL_MAX_CHARS);
    }
}
