//! Step 4: the message, as the ESP will get it.

use crate::case::Case;
use crate::ports::{Answer, WrittenCall};
use crate::reserve::Reservation;

/// The call, or what it has come to where its message cannot be written; boxed, as each job has room for it.
pub(crate) type Written<'w> = Result<Box<dyn WrittenCall<'w> + 'w>, Box<Answer>>;

/// Writes the message and frees what it was written from. Before the claim, since all of the job is at hand: after it and the
/// hundreds of jobs that come between, the processor would have to fetch it from memory again.
pub(crate) fn write<'w>(case: &mut Case<'_>, reservation: &Reservation<'w>) -> Written<'w> {
    let written = reservation.handle.esp.write(&case.job, case.passport.attempt);
    case.job.forget_content();
    written.map_err(Box::new)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ports::Passport;
    use crate::reserve::reserve;
    use crate::worker::rig::{self, Rig, esp};

    #[tokio::test(start_paused = true)]
    async fn what_a_message_was_written_from_is_freed() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox" }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
            "#,
        );
        let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
        let mut case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
        let reservation = reserve(&rig.worker, &case, esp("a"), &rig::room()).await.unwrap();
        assert!(case.job.text.is_some());
        assert!(write(&mut case, &reservation).is_ok());
        assert_eq!((case.job.text.as_deref(), case.job.subject.as_str()), (None, ""));
    }
}
