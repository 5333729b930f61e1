//! A stand-in for SendGrid's `POST /v3/mail/send`.

mod answer;
mod call;
mod stand_in;

pub use answer::SendGridAnswer;
pub use call::SendGridCall;
pub use stand_in::SendGridStandIn;
