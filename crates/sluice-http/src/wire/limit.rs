//! Limits.

use std::collections::BTreeMap;

use super::{Mirror, mirror};

mirror! {
    /// All limits that hold, configured or set at run time, with ramps and brakes.
    struct RateLimitsView {
        /// Those of ESPs and groups in the order of their names, then tenants, then whatever else jobs wait under.
        limits: Vec<RateLimit>,
        /// Limits that each single domain of the group `other` has; listed by domain only while something waits there.
        #[schema(example = json!(["5/s"]))]
        per_domain: Vec<String>,
        /// Jobs that are parked, by the reason why; an estimate where they take more than 64 MiB.
        #[schema(example = json!({"group_limit": 42}))]
        waiting_by_reason: BTreeMap<String, u64>,
        /// Keys that were left out of the list, beyond 2,000 of those that the configuration does not name.
        left_out: u64,
    }

    /// One limit.
    struct RateLimit {
        /// Its key, by which it is changed; `campaign:TENANT/NAME` for the line of a campaign.
        #[schema(example = "esp:main/per:s")]
        key: String,
        /// Whose it is.
        #[schema(example = "esp:main")]
        scope: String,
        /// The limit that holds now, as a sentence; `null` for a campaign, and for a limit that holds no more.
        #[schema(example = "100/s burst 200")]
        spec: Option<String>,
        /// The limit that the configuration names; `null` where it names none.
        #[schema(example = "100/s")]
        configured: Option<String>,
        /// Who has set it at run time.
        edited_by: Option<String>,
        /// And when.
        #[schema(format = DateTime)]
        edited_at: Option<String>,
        /// How it counts.
        kind: LimitWord,
        /// Slots leased in its current window, or connections held.
        used: Option<u64>,
        /// What may still be used in that window.
        left: Option<u64>,
        /// Until the next slot opens that nobody has leased; 0: it is open.
        next_slot_in_ms: Option<u64>,
        /// Until its window ends, or (rolling) until the oldest use leaves it; `null` when nothing was used.
        resets_in_ms: Option<u64>,
        /// Jobs parked in its line, counted up to 10,000.
        parked: u64,
        /// When the first of those was first seen.
        #[schema(format = DateTime)]
        oldest: Option<String>,
        /// Jobs that wait for it in the memory of replicas.
        waiting: u64,
        /// Leased slots that are not used yet, or connections held, by replica.
        holders: BTreeMap<String, u64>,
        /// The brake that is on.
        brake: Option<Brake>,
        /// Of a warm-up: where it stands.
        ramp: Option<Ramp>,
    }

    /// A brake that is on: the receiver has asked us to slow down.
    struct Brake {
        /// The share of its rate that the scope may use, 1 to 100; 100 for counted limits, which only wait for the hold.
        share_percent: u32,
        /// Nothing at all for so long.
        hold_ms: u64,
        /// When it is off again, unless it is pulled once more.
        off_in_ms: u64,
    }

    /// Where a warm-up stands.
    struct Ramp {
        /// Sending days done.
        step: u32,
        /// Today's cap; `null` when the warm-up is done.
        cap: Option<u32>,
        /// Sent today, as far as reported.
        sent_today: u64,
        /// Whether trouble has held it at the last turn of the day.
        held: bool,
    }

    /// What an edit has changed.
    struct LimitChange {
        /// The key of the limit.
        #[schema(example = "esp:main/per:s")]
        key: String,
        /// The limit that held before; `null`: the scope had none of this window, and has one more now.
        #[schema(example = "100/s")]
        before: Option<String>,
        /// The limit that holds from now on; `null`: it was added at run time and is gone.
        #[schema(example = "50/s")]
        after: Option<String>,
    }
}

/// How a limit counts: `rate` (slots at even distances), `bucket` (a token bucket), `counted` (any window of its
/// length), `calendar` (from the full hour or midnight UTC), `warm_up` (today's cap of a warm-up), `connections` (calls
/// at the same time), `brake` (a rate that is there only while a brake is on), `campaign` (not a limit: jobs of a campaign
/// that is or was paused), `gone` (it holds no more: what waits under it is on its way, an edit of it has no effect).
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitWord {
    Rate,
    Bucket,
    Counted,
    Calendar,
    WarmUp,
    Connections,
    Brake,
    Campaign,
    Gone,
}

impl Mirror<LimitWord> for sluice_engine::LimitWord {
    fn mirror(self) -> LimitWord {
        match self {
            Self::Rate => LimitWord::Rate,
            Self::Bucket => LimitWord::Bucket,
            Self::Counted => LimitWord::Counted,
            Self::Calendar => LimitWord::Calendar,
            Self::WarmUp => LimitWord::WarmUp,
            Self::Connections => LimitWord::Connections,
            Self::Brake => LimitWord::Brake,
            Self::Campaign => LimitWord::Campaign,
            Self::Gone => LimitWord::Gone,
        }
    }
}
