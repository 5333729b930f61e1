//! The one place where the environment is read.

/// All variables of this process as text; what is not UTF-8 is left out.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
pub(crate) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// One variable.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
