//! One message from delivery to ack: the pipeline, and the ports that adapters implement.

mod ports;

pub use ports::*;
