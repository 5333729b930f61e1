//! The sample jobs: what is sent, to whom, and what ought to become of it. Pure; the same seed gives the same samples.
//!
//! The last samples are published late, a few at a time, so that a breaker which has opened finds jobs to probe with.

/// Fewest and most samples that are published late.
const LATE: (u32, u32) = (30, 200);
/// Fewest samples of the pool whose one member fails for a while.
const PREMIUM_MIN: u32 = 20;

/// One message to enqueue. Its number, counted from 0, is its place in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) pool: Pool,
    pub(super) group: Group,
}

/// What is special about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it ought to be accepted.
    Plain,
    /// The same message as an earlier, plain one.
    Copy { of: u32 },
    /// Not a job that can be taken.
    Malformed(Fault),
    /// Its recipient is on the suppression list.
    Suppressed,
    /// Its `expires_at` has passed.
    Expired,
    /// The ESP defers it until it expires.
    Deferred,
    /// The ESP refuses its recipient.
    Rejected,
    /// The ESP takes it, and the answer is lost.
    Unknown,
}

/// What is wrong with a malformed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NotJson,
    NotUtf8,
    NoRecipient,
    MisspeltField,
    LineBreakInSubject,
    NoSuchPool,
    BrokenTemplate,
    /// The id of an earlier message with another body.
    TakenId {
        of: u32,
    },
}

/// The pools of the demo's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// Members `healthy` and `slow`.
    Default,
    /// Member `flaky`, failover `healthy`.
    Premium,
}

/// The domain groups of the demo's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The throttled one.
    Gmail,
    Microsoft,
    Yahoo,
    Other,
}

impl Pool {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Premium => "premium",
        }
    }
}

impl Group {
    pub(super) const ALL: [Self; 4] = [Self::Gmail, Self::Microsoft, Self::Yahoo, Self::Other];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gmail => "gmail",
            Self::Microsoft => "microsoft",
            Self::Yahoo => "yahoo",
            Self::Other => "other",
        }
    }

    /// A recipient domain of the group; `other` holds the domains of RFC 2606.
    pub(super) const fn domain(self, number: u32) -> &'static str {
        match (self, number % 3) {
            (Self::Gmail, 0) => "googlemail.com",
            (Self::Gmail, _) => "gmail.com",
            (Self::Microsoft, 0) => "hotmail.com",
            (Self::Microsoft, _) => "outlook.com",
            (Self::Yahoo, _) => "yahoo.com",
            (Self::Other, 0) => "example.com",
            (Self::Other, 1) => "example.net",
            (Self::Other, _) => "example.org",
        }
    }
}

/// How many samples of each sort there are among `jobs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) copies: u32,
    pub(super) malformed: u32,
    pub(super) suppressed: u32,
    pub(super) expired: u32,
    pub(super) deferred: u32,
    pub(super) rejected: u32,
    pub(super) unknown: u32,
    /// Plain ones for the throttled group.
    pub(super) gmail: u32,
    /// Plain ones of the pool `premium`, published at once.
    pub(super) premium: u32,
    /// Plain ones of the pool `premium`, published late.
    pub(super) late: u32,
    /// All other plain ones.
    pub(super) plain: u32,
}

impl Shares {
    /// The shares of a demo of `jobs` messages, at least 100.
    pub(super) fn of(jobs: u32) -> Self {
        let mut shares = Self {
            copies: (jobs / 100 * 3).max(3),
            malformed: (jobs / 100).max(2),
            suppressed: (jobs / 50).max(2),
            expired: (jobs / 100).max(1),
            deferred: (jobs / 200).max(1),
            rejected: (jobs / 100).max(1),
            unknown: (jobs / 1000).max(1),
            gmail: jobs / 100 * 15,
            premium: (jobs / 5).max(PREMIUM_MIN),
            late: (jobs / 20).clamp(LATE.0, LATE.1),
            plain: 0,
        };
        shares.plain = jobs.saturating_sub(shares.special() + shares.gmail + shares.premium + shares.late);
        shares
    }

    const fn special(&self) -> u32 {
        self.copies
            + self.malformed
            + self.suppressed
            + self.expired
            + self.deferred
            + self.rejected
            + self.unknown
    }
}

/// All messages of one demo, in the order in which they are enqueued.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) samples: Vec<Sample>,
    /// So many at the end are published late.
    pub(super) late: usize,
}

impl Scenario {
    /// `jobs` messages, at least 100.
    pub(super) fn new(jobs: u32, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shares = Shares::of(jobs);
        let mut plain = plain(&shares, &mut rng);
        rng.shuffle(&mut plain);
        // Copies need something to be a copy of, so some plain ones come first.
        let rest = plain.split_off(plain.len() / 4);
        let mut samples = plain;
        let mut mixed = special(&shares);
        mixed.extend(rest);
        mixed.extend(premium(shares.premium, &mut rng));
        rng.shuffle(&mut mixed);
        samples.extend(mixed);
        samples.extend(premium(shares.late, &mut rng));
        point_back(&mut samples, &mut rng);
        Self { samples, late: usize::try_from(shares.late).unwrap_or(0) }
    }
}

fn plain(shares: &Shares, rng: &mut fastrand::Rng) -> Vec<Sample> {
    let sample = |group| Sample { kind: Kind::Plain, pool: Pool::Default, group };
    let throttled = (0..shares.gmail).map(|_| sample(Group::Gmail));
    let others = (0..shares.plain).map(|_| sample(free_group(rng)));
    throttled.chain(others).collect()
}

fn premium(count: u32, rng: &mut fastrand::Rng) -> Vec<Sample> {
    (0..count).map(|_| Sample { kind: Kind::Plain, pool: Pool::Premium, group: free_group(rng) }).collect()
}

fn free_group(rng: &mut fastrand::Rng) -> Group {
    match rng.u8(0..10) {
        0..3 => Group::Microsoft,
        3..5 => Group::Yahoo,
        _ => Group::Other,
    }
}

fn special(shares: &Shares) -> Vec<Sample> {
    let faults = [
        Fault::NotJson,
        Fault::NoRecipient,
        Fault::MisspeltField,
        Fault::TakenId { of: 0 },
        Fault::LineBreakInSubject,
        Fault::NoSuchPool,
        Fault::BrokenTemplate,
        Fault::NotUtf8,
    ];
    let counted = [
        (shares.copies, Kind::Copy { of: 0 }),
        (shares.suppressed, Kind::Suppressed),
        (shares.expired, Kind::Expired),
        (shares.deferred, Kind::Deferred),
        (shares.rejected, Kind::Rejected),
        (shares.unknown, Kind::Unknown),
    ];
    let plain = counted.iter().flat_map(|(count, kind)| (0..*count).map(|_| *kind));
    let malformed =
        (0..shares.malformed).zip(faults.iter().cycle()).map(|(_, fault)| Kind::Malformed(*fault));
    plain.chain(malformed).map(|kind| Sample { kind, pool: Pool::Default, group: Group::Other }).collect()
}

/// Lets each copy and each taken id name a plain sample before it, and gives a copy its pool and group.
fn point_back(samples: &mut [Sample], rng: &mut fastrand::Rng) {
    let mut seen: Vec<(u32, Sample)> = Vec::new();
    for (number, sample) in (0..).zip(samples) {
        match &mut sample.kind {
            Kind::Plain => seen.push((number, *sample)),
            Kind::Copy { of } => {
                if let Some((original, it)) = rng.choice(&seen) {
                    *of = *original;
                    (sample.pool, sample.group) = (it.pool, it.group);
                }
            }
            Kind::Malformed(Fault::TakenId { of }) => {
                // Not one that may have to wait: two parked messages with one id become one.
                let free = |it: &Sample| it.group != Group::Gmail && it.pool == Pool::Default;
                let free: Vec<_> = seen.iter().rev().filter(|(_, it)| free(it)).take(50).collect();
                if let Some((original, it)) = rng.choice(free) {
                    *of = *original;
                    (sample.pool, sample.group) = (it.pool, it.group);
                }
            }
            Kind::Malformed(_)
            | Kind::Suppressed
            | Kind::Expired
            | Kind::Deferred
            | Kind::Rejected
            | Kind::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests;
