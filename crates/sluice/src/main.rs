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

/// A job takes a hundred pieces of memory, a tenth of them of kilobytes, and is seldom freed by the thread that took it.
/// Elsewhere its page size, set as it is built, may not be that of the machine.
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
