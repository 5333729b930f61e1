//! The HTTP routes over engine handles: health, metrics, status, job intake, orders, and a dashboard.
//!
//! Start at `routes/mod.rs`, which lists every route with the scope that it needs. [`HttpServer::bind`] takes the port,
//! [`BoundServer::serve`] answers on it until it is told to stop. Every wait for a client has an end: its headers, its
//! body, its reading of the answer, and the connection as a whole. HTTPS where it is given a certificate ([`Tls`]).
//! No SQL and no AMQP here.

mod auth;
mod body;
mod connection;
mod dashboard;
mod error;
mod guard;
mod host;
mod limits;
mod media_type;
mod openapi;
mod routes;
mod server;
mod split;
mod state;
mod tls;
mod wire;

pub use auth::{Access, Scope, Token};
pub use limits::Limits;
pub use openapi::openapi;
pub use server::{BindError, BoundServer, HttpServer};
pub use state::{AppState, InFlight};
pub use tls::{Tls, TlsError};
