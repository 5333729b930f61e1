//! Step 7: the delivery goes back to the broker.

use std::pin::Pin;

use crate::ports::Receipt;

/// A step could not store what it had to; the delivery must be given to somebody else.
#[derive(Debug)]
pub(crate) struct NotStored;

/// A step off the usual way. Boxed, since every job in work would else have room for all of them.
pub(crate) type Stored<'a> = Pin<Box<dyn Future<Output = Result<(), NotStored>> + Send + 'a>>;

/// Acks a delivery whose result (or parked copy, or dead letter) is committed; releases it otherwise.
pub(crate) fn ack(receipt: Receipt, walked: Result<(), NotStored>) {
    match walked {
        Ok(()) => receipt.ack(),
        Err(NotStored) => receipt.release(),
    }
}
