//! The outside world, scripted: ESPs that answer as told and keep a journal of what reached them, and publishers
//! that are not ours.
//!
//! Start at [`SendGridStandIn`] and [`SmtpStandIn`]. Both read what to do from the local part of the recipient, so a
//! test writes its script into its jobs: `r550+ada@example.com` is refused, `cut-after+bob@example.com` is accepted
//! and the answer lost. Their journals are the truth an invariant is checked against.
//!
//! [`HttpPeer`] is the server below, for stand-ins of other ESPs. [`publish_with_pika`] feeds jobs through a foreign
//! client, [`publish_jobs`] large backlogs through a fast one. Stand-ins run on threads of their own: a test that blocks does not slow their answers.
#![expect(
    clippy::disallowed_methods,
    reason = "stand-ins run in real time and are found through the environment"
)]
#![expect(clippy::panic, reason = "a stand-in that cannot start has to fail the test that asks for it")]

mod busiest_window;
mod certificate;
mod http2;
mod http_peer;
mod http_request;
mod listener;
mod pika;
mod publisher;
mod python;
mod sendgrid;
mod smtp;

pub use busiest_window::busiest_window;
pub use certificate::Certificate;
pub use http_peer::{HttpAnswer, HttpPeer};
pub use http_request::HttpRequest;
pub use http2::{Http2Call, Http2Options, Http2StandIn};
pub use listener::Listener;
pub use pika::{PikaSummary, publish_jobs_with_pika, publish_with_pika};
pub use publisher::{JobMessage, JobPublisher, PublishSummary, publish_jobs};
pub use python::python;
pub use sendgrid::{SendGridAnswer, SendGridCall, SendGridStandIn};
pub use smtp::{SmtpMessage, SmtpOptions, SmtpOutcome, SmtpStandIn, SmtpTls};
