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
    /// What an ESP reports of a message after it was handed over; kept in `event.kind`.
    EventKind {
        /// The ESP has the message and will deliver it.
        Processed = "processed",
        /// The mailbox provider has put it off; the ESP tries again.
        Deferred = "deferred",
        /// The mailbox provider took it.
        Delivered = "delivered",
        /// The mailbox provider refused it for good, or the ESP gave up.
        Bounced = "bounced",
        /// The ESP took it and then did not try: its own list, its own rules.
        Dropped = "dropped",
        /// The recipient reported it as spam.
        Complained = "complained",
        /// The recipient wants no more.
        Unsubscribed = "unsubscribed",
        /// It was opened.
        Opened = "opened",
        /// A link in it was followed.
        Clicked = "clicked",
    }
}

impl EventKind {
    /// The state that a job is in, at the least, once this was reported of it.
    ///
    /// Whatever an ESP reports, it has taken the message: so any event settles an unknown outcome.
    #[must_use]
    pub const fn state(self) -> JobState {
        match self {
            Self::Processed | Self::Deferred => JobState::Accepted,
            // Who opens it, follows a link or unsubscribes has it.
            Self::Delivered | Self::Opened | Self::Clicked | Self::Unsubscribed => JobState::Delivered,
            Self::Bounced | Self::Dropped => JobState::Bounced,
            Self::Complained => JobState::Complained,
        }
    }
}

impl JobState {
    /// How far a job has come by what ESPs say of it. An event moves a job to a higher rank only, so that one that comes
    /// late undoes nothing. `None` while a worker may be sending it: its result comes first.
    #[must_use]
    pub const fn rank(self) -> Option<u8> {
        match self {
            Self::Sending => None,
            Self::Deferred
            | Self::Rejected
            | Self::Suppressed
            | Self::Expired
            | Self::Cancelled
            | Self::Unknown => Some(0),
            Self::Accepted => Some(1),
            Self::Delivered => Some(2),
            // Some mailbox providers accept first and bounce later.
            Self::Bounced => Some(3),
            Self::Complained => Some(4),
        }
    }
}

words! {
    /// Why a webhook call was turned away as a whole.
    WebhookRefusal {
        /// No ESP of this name has a webhook.
        NoWebhook = "no_webhook",
        /// The header with the signature, or with the time that it covers, is missing or there more than once.
        Unsigned = "unsigned",
        /// The signature does not fit the body.
        BadSignature = "bad_signature",
        /// It was signed too long ago, or in the future.
        Stale = "stale",
        /// The body is not what this ESP sends.
        Malformed = "malformed",
        /// It has more events than are taken at once.
        TooMany = "too_many",
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
    /// Why a job waits: the same words in `pending.reason`, the CLI, the API and the metric label.
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

impl Severity {
    /// The word for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
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
    fn a_late_event_undoes_nothing() {
        let moves =
            |from: JobState, kind: EventKind| from.rank() < kind.state().rank() && from.rank().is_some();
        for (from, kind, does) in [
            (JobState::Unknown, EventKind::Processed, true),
            (JobState::Deferred, EventKind::Deferred, true),
            (JobState::Accepted, EventKind::Processed, false),
            (JobState::Accepted, EventKind::Opened, true),
            (JobState::Delivered, EventKind::Processed, false),
            (JobState::Delivered, EventKind::Bounced, true),
            (JobState::Bounced, EventKind::Delivered, false),
            (JobState::Complained, EventKind::Bounced, false),
            (JobState::Sending, EventKind::Complained, false),
        ] {
            assert_eq!(moves(from, kind), does, "{from} {kind}");
        }
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_word(kind.as_str()), Some(*kind));
            assert!(moves(JobState::Unknown, *kind), "any event settles an unknown outcome");
        }
    }

    #[test]
    fn an_unknown_job_is_not_final() {
        assert!(!JobState::Unknown.is_final());
        assert!(JobState::Suppressed.is_final());
    }
}
