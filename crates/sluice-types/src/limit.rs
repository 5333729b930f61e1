//! A limit is a sentence: `100/s`, `100/s burst 200`, `50000/h`, `50000/day calendar`, `10 connections`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{EspId, GroupName, Tenant, WaitReason};

/// Windows from this length on are counted in sub-buckets instead of spaced.
pub(crate) const COUNTED_FROM: Duration = Duration::from_secs(3600);
/// Longest window.
pub(crate) const WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// Largest count or burst of one limit.
pub const COUNT_MAX: u32 = 100_000_000;

/// One limit, as written by an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitSpec {
    /// Messages per window, or connections.
    pub count: NonZeroU32,
    /// How they are counted.
    pub kind: LimitKind,
}

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Slots are spaced evenly: at most `count` in any `window`.
    Spaced {
        /// Length of the window.
        window: Duration,
    },
    /// A token bucket: any span `t` holds at most `burst + count * t / window`.
    Bucket {
        /// Length of the window.
        window: Duration,
        /// Depth of the bucket.
        burst: NonZeroU32,
    },
    /// Counted in sub-buckets: at most `count` in any `window`.
    Counted {
        /// Length of the window.
        window: Duration,
    },
    /// Counted from midnight UTC (or the full hour): at most `count` in each calendar `window`.
    Calendar {
        /// One hour or one day.
        window: Duration,
    },
    /// Counted from midnight UTC: at most `count` today, as the ramp of a warm-up says. Never written by an operator.
    Ramp,
    /// At most `count` at the same time.
    Connections,
}

/// Length of the window of a ramp.
const DAY: Duration = Duration::from_secs(86_400);

impl LimitSpec {
    /// Length of the window; none for connections.
    #[must_use]
    pub const fn window(&self) -> Option<Duration> {
        match self.kind {
            LimitKind::Spaced { window }
            | LimitKind::Bucket { window, .. }
            | LimitKind::Counted { window }
            | LimitKind::Calendar { window } => Some(window),
            LimitKind::Ramp => Some(DAY),
            LimitKind::Connections => None,
        }
    }

    /// Messages per second over a full window; none for connections.
    #[must_use]
    pub fn rate_per_second(&self) -> Option<f64> {
        self.window().map(|window| f64::from(self.count.get()) / window.as_secs_f64())
    }
}

/// Why a text is not a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitSpecError {
    /// It has none of the known forms.
    #[error(
        "is not a limit; write it like \"100/s\", \"100/s burst 200\", \"50000/h\", \"50000/day calendar\" or \"10 connections\""
    )]
    Form,
    /// A count or burst of zero.
    #[error("a limit of zero would stop everything; leave the pool or the ESP out instead")]
    Zero,
    /// A count, burst or window above the maximum.
    #[error("the number or the window is too large (at most {COUNT_MAX}, at most 31 days)")]
    TooLarge,
    /// `calendar` on a window that is not one hour or one day.
    #[error("`calendar` goes with /h or /day only")]
    Calendar,
    /// `burst` on a counted window.
    #[error("`burst` goes with windows below one hour only")]
    Burst,
}

impl std::str::FromStr for LimitSpec {
    type Err = LimitSpecError;

    fn from_str(text: &str) -> Result<Self, LimitSpecError> {
        let words: Vec<&str> = text.split_ascii_whitespace().take(5).collect();
        match words.as_slice() {
            [count, "connections" | "connection"] => {
                Ok(Self { count: parse_count(count)?, kind: LimitKind::Connections })
            }
            [rate] => {
                let (count, window) = parse_rate(rate)?;
                let kind = if window >= COUNTED_FROM {
                    LimitKind::Counted { window }
                } else {
                    LimitKind::Spaced { window }
                };
                Ok(Self { count, kind })
            }
            [rate, "rolling"] => {
                let (count, window) = parse_rate(rate)?;
                Ok(Self { count, kind: LimitKind::Counted { window } })
            }
            [rate, "calendar"] => {
                let (count, window) = parse_rate(rate)?;
                let whole = window == Duration::from_secs(3600) || window == Duration::from_secs(86_400);
                if whole {
                    Ok(Self { count, kind: LimitKind::Calendar { window } })
                } else {
                    Err(LimitSpecError::Calendar)
                }
            }
            [rate, "burst", burst] => {
                let (count, window) = parse_rate(rate)?;
                let burst = parse_count(burst)?;
                if window >= COUNTED_FROM {
                    return Err(LimitSpecError::Burst);
                }
                Ok(Self { count, kind: LimitKind::Bucket { window, burst } })
            }
            _ => Err(LimitSpecError::Form),
        }
    }
}

impl std::fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.count;
        match self.kind {
            LimitKind::Connections => write!(f, "{count} connections"),
            LimitKind::Ramp => write!(f, "{count}/day warm-up"),
            LimitKind::Spaced { window } => write!(f, "{count}/{}", window_word(window)),
            LimitKind::Bucket { window, burst } => write!(f, "{count}/{} burst {burst}", window_word(window)),
            LimitKind::Counted { window } if window >= COUNTED_FROM => {
                write!(f, "{count}/{}", window_word(window))
            }
            LimitKind::Counted { window } => write!(f, "{count}/{} rolling", window_word(window)),
            LimitKind::Calendar { window } => write!(f, "{count}/{} calendar", window_word(window)),
        }
    }
}

fn window_word(window: Duration) -> String {
    let seconds = window.as_secs();
    for (unit, word) in [(86_400, "day"), (3600, "h"), (60, "min")] {
        if seconds == unit {
            return word.to_owned();
        }
        if seconds > unit && seconds.is_multiple_of(unit) {
            return format!("{}{word}", seconds / unit);
        }
    }
    if seconds == 1 { "s".to_owned() } else { format!("{seconds}s") }
}

fn parse_count(text: &str) -> Result<NonZeroU32, LimitSpecError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(LimitSpecError::Form);
    }
    let count: u32 = text.parse().map_err(|_| LimitSpecError::TooLarge)?;
    if count > COUNT_MAX {
        return Err(LimitSpecError::TooLarge);
    }
    NonZeroU32::new(count).ok_or(LimitSpecError::Zero)
}

fn parse_rate(text: &str) -> Result<(NonZeroU32, Duration), LimitSpecError> {
    let (count, window) = text.split_once('/').ok_or(LimitSpecError::Form)?;
    let count = parse_count(count)?;
    let digits = window.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = window.split_at_checked(digits).ok_or(LimitSpecError::Form)?;
    let number = if number.is_empty() { 1 } else { parse_count(number)?.get() };
    let unit_seconds: u64 = match unit {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 86_400,
        _ => return Err(LimitSpecError::Form),
    };
    let window = Duration::from_secs(unit_seconds * u64::from(number));
    if window > WINDOW_MAX { Err(LimitSpecError::TooLarge) } else { Ok((count, window)) }
}

/// Whose limit it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// One ESP account.
    Esp(EspId),
    /// One domain group over all ESPs.
    Group(GroupName),
    /// One domain group at one ESP.
    EspGroup(EspId, GroupName),
    /// One tenant.
    Tenant(Tenant),
    /// One recipient domain of the group `other`.
    Domain(std::sync::Arc<str>),
}

impl LimitScope {
    /// The waiting reason of a job that this limit holds.
    #[must_use]
    pub const fn wait_reason(&self) -> WaitReason {
        match self {
            Self::Esp(_) => WaitReason::EspLimit,
            Self::Group(_) => WaitReason::GroupLimit,
            Self::EspGroup(..) => WaitReason::EspGroupLimit,
            Self::Tenant(_) => WaitReason::TenantLimit,
            Self::Domain(_) => WaitReason::DomainLimit,
        }
    }
}

/// A text is not the scope of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not whose limit it is; write it like \"esp:NAME\", \"group:NAME\", \"esp:NAME/group:NAME\", \"tenant:NAME\" or \"domain:NAME\""
)]
pub struct LimitScopeError;

impl std::str::FromStr for LimitScope {
    type Err = LimitScopeError;

    fn from_str(text: &str) -> Result<Self, LimitScopeError> {
        let (kind, name) = text.split_once(':').ok_or(LimitScopeError)?;
        let scope = match kind {
            "esp" => match name.split_once("/group:") {
                Some((esp, group)) => EspId::new(esp)
                    .and_then(|esp| GroupName::new(group).map(|group| Self::EspGroup(esp, group))),
                None => EspId::new(name).map(Self::Esp),
            },
            "group" => GroupName::new(name).map(Self::Group),
            "tenant" => Tenant::new(name).map(Self::Tenant),
            "domain" if !name.is_empty() && name.len() <= 255 && !name.contains('/') => {
                Ok(Self::Domain(std::sync::Arc::from(name)))
            }
            _ => return Err(LimitScopeError),
        };
        scope.map_err(|_| LimitScopeError)
    }
}

impl std::fmt::Display for LimitScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Esp(esp) => write!(f, "esp:{esp}"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::EspGroup(esp, group) => write!(f, "esp:{esp}/group:{group}"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Domain(domain) => write!(f, "domain:{domain}"),
        }
    }
}

/// One limit of one scope: the unit in which slots are leased. Displayed as `esp:main 100/s`.
///
/// A scope with several limits has several of these, and a job needs a slot under each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Whose limit it is.
    pub scope: LimitScope,
    /// The sentence.
    pub spec: LimitSpec,
}

impl Limit {
    /// The waiting reason of a job that this limit holds.
    #[must_use]
    pub const fn wait_reason(&self) -> WaitReason {
        match self.spec.kind {
            LimitKind::Ramp => WaitReason::WarmUp,
            LimitKind::Spaced { .. }
            | LimitKind::Bucket { .. }
            | LimitKind::Counted { .. }
            | LimitKind::Calendar { .. }
            | LimitKind::Connections => self.scope.wait_reason(),
        }
    }

    /// The scope in a key.
    #[must_use]
    pub fn scope_of_key(key: &str) -> Option<LimitScope> {
        key.rsplit_once('/').and_then(|(scope, _)| scope.parse().ok())
    }

    /// The key of its state in the store, such as `esp:main/per:s`: the scope and the window, so that an edit of the
    /// count keeps what was spent.
    #[must_use]
    pub fn key(&self) -> String {
        let kind = match self.spec.kind {
            LimitKind::Spaced { window } | LimitKind::Bucket { window, .. } => {
                format!("per:{}", window_word(window))
            }
            LimitKind::Counted { window } if window >= COUNTED_FROM => format!("per:{}", window_word(window)),
            LimitKind::Counted { window } => format!("per:{}:rolling", window_word(window)),
            LimitKind::Calendar { window } => format!("per:{}:calendar", window_word(window)),
            LimitKind::Ramp => "warm-up".to_owned(),
            LimitKind::Connections => "connections".to_owned(),
        };
        format!("{}/{kind}", self.scope)
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.scope, self.spec)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_sentence_of_the_contract_reads_back() {
        for text in [
            "100/s",
            "100/s burst 200",
            "50000/h",
            "1000000/day",
            "50000/day calendar",
            "10 connections",
            "100/10s",
            "7/10s rolling",
        ] {
            assert_eq!(text.parse::<LimitSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_limit_says_what_is_wrong() {
        for (text, error) in [
            ("", LimitSpecError::Form),
            ("100", LimitSpecError::Form),
            ("-1/s", LimitSpecError::Form),
            ("1.5/s", LimitSpecError::Form),
            ("0/s", LimitSpecError::Zero),
            ("10/s burst 0", LimitSpecError::Zero),
            ("10/0s", LimitSpecError::Zero),
            ("99999999999/s", LimitSpecError::TooLarge),
            ("1/99day", LimitSpecError::TooLarge),
            ("10/min calendar", LimitSpecError::Calendar),
            ("10/h burst 5", LimitSpecError::Burst),
            ("10/fortnight", LimitSpecError::Form),
            ("10/s quickly", LimitSpecError::Form),
        ] {
            assert_eq!(text.parse::<LimitSpec>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn keys_name_their_scope_and_window() {
        for (scope, spec, key) in [
            ("esp:main", "100/s", "esp:main/per:s"),
            ("esp:main", "100/s burst 7", "esp:main/per:s"),
            ("group:gmail", "50000/h", "group:gmail/per:h"),
            ("esp:main/group:gmail", "5/10s", "esp:main/group:gmail/per:10s"),
            ("esp:main/group:gmail", "5/10s rolling", "esp:main/group:gmail/per:10s:rolling"),
            ("tenant:acme", "50/day calendar", "tenant:acme/per:day:calendar"),
            ("domain:a.example", "10 connections", "domain:a.example/connections"),
        ] {
            let limit = Limit { scope: scope.parse().unwrap(), spec: spec.parse().unwrap() };
            assert_eq!(limit.key(), key);
            assert_eq!(limit.scope.to_string(), scope);
            assert_eq!(Limit::scope_of_key(key), Some(limit.scope));
        }
        for text in
            ["", "esp", "esp:", "esp:a b", "group:a/group:b", "planet:mars", "domain:", "esp:a/group:"]
        {
            assert_eq!(text.parse::<LimitScope>(), Err(LimitScopeError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back(text in "[0-9]{1,6}/[0-9]{0,3}(s|min|h|day|x)( burst [0-9]{1,4}| calendar| rolling)?|\\PC{0,30}") {
            if let Ok(spec) = text.parse::<LimitSpec>() {
                prop_assert_eq!(spec.to_string().parse::<LimitSpec>(), Ok(spec));
            }
        }
    }
}
