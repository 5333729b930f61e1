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

/// Longest name of a user that is taken.
const USER_MAX_BYTES: usize = 64;

/// Who uses this terminal, as far as the environment says; behind sudo the one who called it. Taken only if it looks like
/// a name, since it is kept with what was decided.
pub(crate) fn user() -> Option<String> {
    let fits = |name: &String| {
        (1..=USER_MAX_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
    };
    ["SUDO_USER", "USER"].into_iter().find_map(|name| variable(name).filter(fits))
}
