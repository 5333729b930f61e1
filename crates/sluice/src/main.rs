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

/// A job takes some ninety pieces of memory, for the larger of which the system's allocator has no list by thread. Only where it was
/// measured: on other processors the page size that it is built with may not be that of the machine it runs on.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One TLS provider for every client; a second call could only come from here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    cli::run()
}
