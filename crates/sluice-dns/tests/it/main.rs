//! The resolver against a name server on the loopback that answers as told.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it should be"
)]

mod answers;
mod away;
mod hand_clock;
mod hostile;
mod logs;
mod name_server;
mod remembered;
mod rig;
mod shared;
mod wire;
