//! ESPs.

use std::collections::BTreeMap;

use super::limit::{Brake, Ramp};
use super::mirror;
use super::words::{BreakerWord, ForcedWord};

mirror! {
    /// One ESP over the fleet.
    struct EspView {
        /// Its name.
        #[schema(example = "main")]
        name: String,
        /// Its breaker.
        breaker: BreakerStatus,
        /// Brakes that are on, on all of it or on single groups.
        brakes: Vec<ScopeBrake>,
        /// Calls in flight over all replicas.
        in_flight: u64,
        /// Calls per second in the last whole minute, by what they came to: `accepted`, or the word of the category.
        #[schema(example = json!({"accepted": 48.5, "throttled": 0.2}))]
        rates: BTreeMap<String, f64>,
        /// Calls of the last ten minutes that were not accepted, by category.
        #[schema(example = json!({"throttled": 17}))]
        recent: BTreeMap<String, u64>,
        /// Its limits over messages, and those of single groups at it.
        quotas: Vec<Quota>,
        /// Its warm-up, and those of single groups.
        warm_up: Vec<WarmUp>,
    }

    /// A breaker as the fleet knows it.
    struct BreakerStatus {
        /// Whether calls are made.
        #[schema(value_type = BreakerWord)]
        state: &'static str,
        /// While an operator holds it so.
        #[schema(value_type = Option<ForcedWord>)]
        forced: Option<&'static str>,
        /// While open of its own: until probes are let through.
        open_for_ms: Option<u64>,
        /// How many times in a row it has opened.
        trips: u32,
        /// Probes under way.
        probing: u32,
    }

    /// A brake, and what it is on.
    struct ScopeBrake {
        /// `esp:NAME` or `esp:NAME/group:NAME`.
        #[schema(example = "esp:main/group:gmail")]
        scope: String,
        /// The brake.
        #[serde(flatten)]
        brake: Brake,
    }

    /// How far a limit is used.
    struct Quota {
        /// Its key.
        #[schema(example = "esp:main/per:day")]
        key: String,
        /// The limit that holds now, as a sentence.
        #[schema(example = "1000000/day")]
        spec: String,
        /// Slots leased in its current window.
        used: u64,
        /// What may still be leased in that window.
        left: u64,
        /// Until its window ends, or (rolling) until the oldest use leaves it; `null` when nothing was used.
        resets_in_ms: Option<u64>,
    }

    /// A warm-up, and what it is on.
    struct WarmUp {
        /// `esp:NAME` or `esp:NAME/group:NAME`.
        #[schema(example = "esp:main")]
        scope: String,
        /// Where it stands.
        #[serde(flatten)]
        ramp: Ramp,
    }

    /// A breaker as one process has it.
    struct BreakerView {
        /// The ESP.
        #[schema(example = "main")]
        esp: String,
        /// Whether calls are made.
        #[schema(value_type = BreakerWord)]
        state: &'static str,
        /// While open: until probes are let through.
        open_for_ms: Option<u64>,
        /// While an operator holds it so.
        #[schema(value_type = Option<ForcedWord>)]
        forced: Option<&'static str>,
        /// Part of its normal share of traffic that it gets now, 0.0 to 1.0.
        weight: f64,
    }
}
