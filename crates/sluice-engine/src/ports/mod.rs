//! The ports: what the engine asks of the outside. Adapters implement them.
//!
//! Every call takes and answers batches, may be run twice, and says apart "could not find out" and "was refused".

mod clock;
mod console;
mod esp;
mod events;
mod fleet;
mod inbox;
mod ledger;
mod mx;
mod outbox;
mod pending;
mod results;
mod slot_source;
mod taster;
mod unknowns;
mod webhook;

pub use clock::{Clock, SystemClock};
pub use console::{
    AttemptView, Console, DeadLetterView, EventView, JobView, KnownJob, PendingView, ResolutionView,
    StatusView, SuppressionEntry,
};
pub use esp::{Answer, Esp, QuotaHint, ReadyCall, WrittenCall};
pub use events::{EspEvent, Events, Landed, Moved, Suppress, SuppressReason};
pub use fleet::{Fleet, FleetError};
pub use inbox::{Acker, Delivery, Feed, Inbox, InboxError, LaneDepth, Passport, PoisonFeed, Receipt};
pub use ledger::{
    Claim, ClaimVerdict, DeadLetter, Intent, Ledger, LedgerError, NextStep, ParkVerdict, Record,
    RecordVerdict,
};
pub use mx::{MxAnswer, MxSource};
pub use outbox::{Burial, Outbox, Publication, PublishError};
pub use pending::{Due, DueBatch, DueQuery, Parked, PendingJob, ReleaseQuery, WaitingKey};
pub use results::{Announcement, Herald, ResultBatch, Results};
pub use slot_source::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
pub use taster::{Taste, Taster};
pub use unknowns::{
    RESEND_WORD, ResendVerdict, SettleAs, SettleVerdict, UnknownQuery, UnknownView, Unknowns,
};
pub use webhook::{Reading, Webhook, WebhookCall};
