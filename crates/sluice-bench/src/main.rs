//! Measures the real worker (`sluice run` processes, private RabbitMQ and Postgres with stock durability) against a
//! loopback ESP that keeps a journal, and beside it bare programs that do less. Each run is also a correctness check.
//!
//! Start at `case.rs` (what is measured) and `runs/` (how). `scripts/bench` builds what it needs and runs it.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and finds programs through the environment"
)]

mod case;
mod cli;
mod job;
mod journal;
mod latency;
mod ledger;
mod metrics;
mod process;
mod reference;
mod report;
mod run;
mod runs;
mod site;
mod stage;
mod stand_in;
mod webhook_sender;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            cli::note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
