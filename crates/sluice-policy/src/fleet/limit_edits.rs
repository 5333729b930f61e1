//! Limits that an operator has set at run time.

use serde::{Deserialize, Serialize};

/// A limit in place of the configured one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEdit {
    /// The sentence.
    pub spec: String,
    /// Who has set it.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}
