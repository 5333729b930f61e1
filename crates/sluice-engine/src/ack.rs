//! Step 8: the delivery goes back to the broker.

use std::pin::Pin;

use crate::failpoint::{Failpoint, at};
use crate::lane::InFlight;
use crate::ports::{Receipt, Record};
use crate::taste::Worn;

/// A step could not store what it had to; the delivery must be given to somebody else.
#[derive(Debug)]
pub(crate) struct NotStored;

/// How far a job has come in its own task.
#[derive(Debug)]
pub(crate) enum Walked {
    /// What became of it is stored.
    Stored,
    /// To the answer of its ESP, or to nothing that was sent: what came of its claim is yet to be recorded.
    Claimed(Box<Record>),
}

/// A step off the usual way. Boxed, since every job in work would else have room for all of them.
pub(crate) type Stored<'a> = Pin<Box<dyn Future<Output = Result<Walked, NotStored>> + Send + 'a>>;

/// What a job holds until it is acked.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) receipt: Receipt,
    pub(crate) worn: Option<Worn>,
    pub(crate) in_flight: InFlight,
}

impl Held {
    /// The end of the way: [`ack`].
    pub(crate) fn ack(self, stored: Result<(), NotStored>, id: impl Fn() -> Option<String>) {
        at(Failpoint::BeforeAck, &id);
        let Self { receipt, worn, in_flight } = self;
        ack(receipt, stored);
        drop(worn);
        at(Failpoint::Acked, id);
        drop(in_flight);
    }
}

/// Acks a delivery whose result (or parked copy, or dead letter) is committed; releases it otherwise.
pub(crate) fn ack(receipt: Receipt, stored: Result<(), NotStored>) {
    match stored {
        Ok(()) => receipt.ack(),
        Err(NotStored) => receipt.release(),
    }
}
