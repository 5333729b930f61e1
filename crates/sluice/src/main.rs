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

fn main() -> ExitCode {
    // One TLS provider for every client; a second call could only come from here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run()
}
