//! Closed lists of words that SQL, metrics, CLI and API share.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All members, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for SQL, metrics and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Reads the word back.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// State of a job's row in `job`.
    JobState {
        /// A worker has claimed it and may be sending it.
        Sending = "sending",
        /// An ESP took it. Final, until events arrive.
        Accepted = "accepted",
        /// It will be tried again; its body is in `pending`.
        Deferred = "deferred",
        /// Refused for good at hand-over. Final.
        Rejected = "rejected",
        /// The recipient is on the suppression list. Final.
        Suppressed = "suppressed",
        /// `expires_at`, or the retry schedule of its class, ran out. Final.
        Expired = "expired",
        /// An operator or publisher withdrew it. Final.
        Cancelled = "cancelled",
        /// It may or may not have been sent; resolved by policy or by an operator.
        Unknown = "unknown",
        /// The mailbox provider took it (event).
        Delivered = "delivered",
        /// Refused after acceptance (event).
        Bounced = "bounced",
        /// Reported as spam (event).
        Complained = "complained",
    }
}

impl JobState {
    /// Whether nothing more will be tried on its own: all but `sending`, `deferred` and `unknown`.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Sending | Self::Deferred | Self::Unknown)
    }
}

words! {
    /// Outcome of one attempt, as kept in `attempt.outcome`.
    AttemptOutcome {
        /// The ESP took it.
        Accepted = "accepted",
        /// Temporary refusal.
        Deferred = "deferred",
        /// Final refusal.
        Rejected = "rejected",
        /// The ESP's own fault; safe to try elsewhere.
        Faulted = "faulted",
        /// Handed over, answer lost.
        Unknown = "unknown",
    }
}

words! {
    /// Why a job waits: the same words in `pending.reason`, the CLI, the API, the metric label and the dashboard.
    WaitReason {
        /// A limit of the ESP.
        EspLimit = "esp_limit",
        /// A limit of the domain group over all ESPs.
        GroupLimit = "group_limit",
        /// A limit of the domain group at this ESP.
        EspGroupLimit = "esp_group_limit",
        /// A limit of the tenant.
        TenantLimit = "tenant_limit",
        /// A limit of one recipient domain.
        DomainLimit = "domain_limit",
        /// The warm-up of the ESP allows no more today.
        WarmUp = "warm_up",
        /// An operator has paused the campaign.
        CampaignPaused = "campaign_paused",
        /// Every ESP of the pool has its breaker open.
        BreakerOpen = "breaker_open",
        /// The last attempt was deferred or faulted; the next one is scheduled.
        Retry = "retry",
        /// `send_at` lies ahead.
        Scheduled = "scheduled",
        /// Another worker holds the claim.
        InFlightElsewhere = "in_flight_elsewhere",
        /// The outcome of the last attempt is unknown.
        Unknown = "unknown",
    }
}

words! {
    /// What happened in one word; kept in `job.category` and `attempt.category`.
    Category {
        /// The mailbox does not exist.
        RecipientUnknown = "recipient_unknown",
        /// The mailbox is full, inactive or over its own rate.
        RecipientUnavailable = "recipient_unavailable",
        /// The recipient is on the suppression list (ours or the ESP's).
        Suppressed = "suppressed",
        /// The message itself was refused.
        Content = "content",
        /// Blocked by policy or reputation.
        Policy = "policy",
        /// The sender's authentication or identity is at fault (SPF, DKIM, DMARC, unverified sender).
        SenderConfig = "sender_config",
        /// Slow down: 429, 421 4.7.x, quota of a short window.
        Throttled = "throttled",
        /// A quota of a long window is used up.
        Quota = "quota",
        /// Temporary refusal without a better name (greylisting, local error).
        Temporary = "temporary",
        /// Could not connect.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// No answer in time.
        Timeout = "timeout",
        /// The ESP answered 5xx.
        ServerError = "server_error",
        /// The ESP's answer makes no sense.
        Protocol = "protocol",
        /// Key or password refused.
        Auth = "auth",
        /// Account suspended, out of credit or not allowed to send.
        Account = "account",
        /// Handed over, then the answer was lost.
        AnswerLost = "answer_lost",
        /// The worker that held the claim went away before it recorded a result.
        WorkerLost = "worker_lost",
        /// `expires_at` has passed.
        Expired = "expired",
        /// The retry schedule of its class ran out.
        GaveUp = "gave_up",
        /// An operator has cancelled its campaign.
        Cancelled = "cancelled",
    }
}

/// How loudly an occurrence is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// After 50 occurrences within a window.
    Low,
    /// After 10.
    Medium,
    /// After 5.
    High,
    /// At once.
    Critical,
}

impl Category {
    /// Alert severity of one occurrence.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Auth | Self::Account => Severity::Critical,
            Self::SenderConfig | Self::Tls | Self::AnswerLost | Self::WorkerLost | Self::Quota => {
                Severity::High
            }
            Self::Policy | Self::Connect | Self::Timeout | Self::ServerError | Self::Protocol => {
                Severity::Medium
            }
            Self::RecipientUnknown
            | Self::RecipientUnavailable
            | Self::Suppressed
            | Self::Content
            | Self::Throttled
            | Self::Temporary
            | Self::Expired
            | Self::GaveUp
            | Self::Cancelled => Severity::Low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_word(state.as_str()), Some(*state));
        }
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::from_word(reason.as_str()), Some(*reason));
        }
        assert_eq!(Category::from_word("nonsense"), None);
    }

    #[test]
    fn an_unknown_job_is_not_final() {
        assert!(!JobState::Unknown.is_final());
        assert!(JobState::Suppressed.is_final());
    }
}
