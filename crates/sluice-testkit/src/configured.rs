//! Parts of a configuration file.

use std::net::SocketAddr;

/// A pool of one ESP of kind `sendgrid` at `esp`; both are called `name`.
#[must_use]
pub fn pool_of_one(name: &str, esp: SocketAddr, timeout: &str) -> String {
    format!(
        r#"
[[esp]]
name = "{name}"
kind = "sendgrid"
base_url = "http://{esp}"
api_key = "KEY"
timeout = "{timeout}"

[[pool]]
name = "{name}"
members = [{{ esp = "{name}" }}]
"#
    )
}
