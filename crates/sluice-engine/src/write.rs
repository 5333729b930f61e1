//! Step 4: the message, as the ESP will get it.

use crate::case::Case;
use crate::ports::{Answer, WrittenCall};
use crate::reserve::Reservation;

/// The call, or what it has come to where its message cannot be written; boxed, as each job has room for it.
pub(crate) type Written<'w> = Result<Box<dyn WrittenCall + 'w>, Box<Answer>>;

/// Writes the message and frees what it was written from. Before the claim, since all of the job is at hand: after it and the
/// hundreds of jobs that come between, the processor would have to fetch it from memory again.
pub(crate) fn write<'w>(case: &mut Case<'_>, reservation: &Reservation<'w>) -> Written<'w> {
    let written = reservation.handle.esp.write(&case.job, case.passport.attempt);
    case.job.forget_content();
    written.map_err(Box::new)
}
