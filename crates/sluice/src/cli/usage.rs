//! A wrong use of the command line that only shows when the command looks at its arguments together.

/// What to mend on the command line: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(String);

impl UsageError {
    /// The exit code, the same as that of an option that does not exist.
    pub(super) const EXIT: u8 = 2;

    /// A sentence that says what to write instead.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
