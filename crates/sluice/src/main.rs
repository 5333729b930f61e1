//! The one binary: commands, environment, wiring, signals, exit code. No business rules.

mod cli;
mod commands;
mod environment;
mod http;
mod output;
mod settings;
mod taster;
mod wiring;

use std::process::ExitCode;

/// A job is some hundred small allocations, and many are freed by another thread than the one that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for every client; a second call could only come from here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run()
}
