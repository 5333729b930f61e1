//! Points between two steps of the way of a job, at which a test may kill or stop the process.
//!
//! Compiled in with the feature `failpoints` and debug assertions together, so never in a release build; elsewhere
//! [`at`] is empty. What happens where comes from `SLUICE_FAILPOINTS`, such as `claimed=kill#job-1,acked=stop#job-2`: when
//! the job `job-1` comes to `claimed` the process gets SIGKILL, and when `job-2` comes to `acked` SIGSTOP. With a folder
//! in `SLUICE_FAILPOINTS_ONCE` each point happens once for all processes that share it: whoever makes the file named
//! after the point in there.

/// A boundary between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// A delivery is about to be decoded: whoever dies here, dies of the message.
    Decoding,
    /// A delivery was decoded.
    Decoded,
    /// A job has its reservation and is about to be claimed.
    BeforeClaim,
    /// The claim is committed.
    Claimed,
    /// A slot was taken, and the call is about to begin.
    BeforeSend,
    /// The ESP has answered.
    Answered,
    /// The result is known and about to be recorded.
    BeforeRecord,
    /// The result is committed.
    Recorded,
    /// About to be parked.
    BeforePark,
    /// The parked copy is committed.
    Parked,
    /// A refused message is published to the dead letters and not yet in the store.
    Buried,
    /// A refused message is in the store.
    Refused,
    /// About to be acked.
    BeforeAck,
    /// Acked, as far as the engine is concerned.
    Acked,
    /// A relay holds rows that are due.
    RelayTook,
    /// The broker has confirmed what a relay published; the rows still stand.
    RelayConfirmed,
    /// The rows are deleted.
    RelayDeleted,
}

impl Failpoint {
    /// All of them, in the order of a job's way.
    pub const ALL: [Self; 17] = [
        Self::Decoding,
        Self::Decoded,
        Self::BeforeClaim,
        Self::Claimed,
        Self::BeforeSend,
        Self::Answered,
        Self::BeforeRecord,
        Self::Recorded,
        Self::BeforePark,
        Self::Parked,
        Self::Buried,
        Self::Refused,
        Self::BeforeAck,
        Self::Acked,
        Self::RelayTook,
        Self::RelayConfirmed,
        Self::RelayDeleted,
    ];

    /// Its name in `SLUICE_FAILPOINTS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decoding => "decoding",
            Self::Decoded => "decoded",
            Self::BeforeClaim => "before_claim",
            Self::Claimed => "claimed",
            Self::BeforeSend => "before_send",
            Self::Answered => "answered",
            Self::BeforeRecord => "before_record",
            Self::Recorded => "recorded",
            Self::BeforePark => "before_park",
            Self::Parked => "parked",
            Self::Buried => "buried",
            Self::Refused => "refused",
            Self::BeforeAck => "before_ack",
            Self::Acked => "acked",
            Self::RelayTook => "relay_took",
            Self::RelayConfirmed => "relay_confirmed",
            Self::RelayDeleted => "relay_deleted",
        }
    }
}

/// The job whose id `id` answers has come to `point`.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
#[inline]
pub(crate) fn at(_point: Failpoint, _id: impl Fn() -> Option<String>) {}

#[cfg(all(feature = "failpoints", debug_assertions))]
pub(crate) use armed::at;

#[cfg(all(feature = "failpoints", debug_assertions))]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Failpoint;

    #[derive(Debug)]
    struct Armed {
        name: String,
        signal: Signal,
        job: String,
    }

    #[derive(Debug)]
    struct Settings {
        armed: Vec<Armed>,
        once: Option<PathBuf>,
    }

    /// By then a signal to the own process has been taken.
    const TAKEN_WITHIN: Duration = Duration::from_millis(300);

    static SETTINGS: OnceLock<Settings> = OnceLock::new();

    /// The job whose id `id` answers has come to `point`.
    pub(crate) fn at(point: Failpoint, id: impl Fn() -> Option<String>) {
        let settings = SETTINGS.get_or_init(from_environment);
        for it in settings.armed.iter().filter(|it| it.name == point.as_str()) {
            if id().is_none_or(|id| id != it.job) || !is_first(settings, point) {
                continue;
            }
            match kill_process(getpid(), it.signal) {
                // Any thread may be the one that takes the signal; this one must not go on before it has.
                Ok(()) => std::thread::sleep(TAKEN_WITHIN),
                Err(error) => tracing::error!(%error, "a failpoint could not signal its own process"),
            }
        }
    }

    fn is_first(settings: &Settings, point: Failpoint) -> bool {
        settings.once.as_ref().is_none_or(|dir| std::fs::File::create_new(dir.join(point.as_str())).is_ok())
    }

    #[expect(clippy::disallowed_methods, reason = "not in any build that an operator starts")]
    fn from_environment() -> Settings {
        let text = std::env::var("SLUICE_FAILPOINTS").unwrap_or_default();
        let once = std::env::var_os("SLUICE_FAILPOINTS_ONCE").map(PathBuf::from);
        Settings { armed: text.split(',').filter_map(parse).collect(), once }
    }

    fn parse(text: &str) -> Option<Armed> {
        let (name, rest) = text.split_once('=')?;
        let (action, job) = rest.split_once('#')?;
        let signal = match action {
            "kill" => Signal::KILL,
            "stop" => Signal::STOP,
            _ => return None,
        };
        Some(Armed { name: name.trim().to_owned(), signal, job: job.to_owned() })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_has_a_signal_and_a_job() {
            let parsed = parse("claimed=kill#a-1").unwrap();
            assert_eq!(
                (parsed.name.as_str(), parsed.signal, parsed.job.as_str()),
                ("claimed", Signal::KILL, "a-1")
            );
            assert_eq!(parse("acked=stop#b").unwrap().signal, Signal::STOP);
            assert!(
                parse("acked").is_none() && parse("acked=kill").is_none() && parse("acked=burn#a").is_none()
            );
        }
    }
}
