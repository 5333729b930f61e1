//! E-mail addresses as Sluice takes them: a plain ASCII local part and a domain, IDN domains as A-labels.

use std::borrow::Cow;
use std::sync::Arc;

/// Longest local part in bytes, RFC 5321 section 4.5.3.1.1.
pub const LOCAL_PART_MAX_BYTES: usize = 64;
/// Longest address in bytes: a path of 256 less its two angle brackets, RFC 5321 section 4.5.3.1.3.
pub const ADDRESS_MAX_BYTES: usize = 254;

/// A checked address. Its `Debug` shows the domain only, so that it can never leak into a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Arc<str>,
    domain_at: usize,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing on one side of it.
    #[error("is not of the form local@domain")]
    NoDomain,
    /// A space, a control character, or one that RFC 5321 allows only in quotes.
    #[error("has a character that is not allowed in an address")]
    BadCharacter,
    /// The local part has a letter outside ASCII (it would need SMTPUTF8 on every hop).
    #[error("has a local part outside ASCII, which is not supported")]
    NonAsciiLocalPart,
    /// Dots at an end or side by side in the local part.
    #[error("has a misplaced dot before the @")]
    MisplacedDot,
    /// A part is longer than RFC 5321 allows.
    #[error("is longer than RFC 5321 allows")]
    TooLong,
    /// The domain is not a valid host name, or its IDN form cannot be converted.
    #[error("has an invalid domain")]
    BadDomain,
}

impl Address {
    /// Checks `text`, lower-cases the domain and converts an IDN domain to its A-labels (RFC 5891).
    ///
    /// # Errors
    /// When it is not an address that can be put into an SMTP envelope without quoting.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        // The bound is on bytes before conversion too, so that a hostile text costs nothing.
        if text.len() > 4 * ADDRESS_MAX_BYTES {
            return Err(AddressError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::NoDomain);
        }
        check_local_part(local)?;
        let text: Arc<str> = match normal_domain(domain)? {
            Cow::Borrowed(_) => Arc::from(text),
            Cow::Owned(domain) => Arc::from(format!("{local}@{domain}")),
        };
        if text.len() > ADDRESS_MAX_BYTES {
            return Err(AddressError::TooLong);
        }
        Ok(Self { text, domain_at: local.len() + 1 })
    }

    /// The whole address, domain in lower-case A-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part after the `@`: the key of per-domain limits.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.domain_at..).unwrap_or_default()
    }

    /// The form under which a suppression is kept: all lower case, since mailbox providers ignore case.
    #[must_use]
    pub fn suppression_key(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address(*@{})", self.domain())
    }
}

fn check_local_part(local: &str) -> Result<(), AddressError> {
    if local.len() > LOCAL_PART_MAX_BYTES {
        return Err(AddressError::TooLong);
    }
    if !local.is_ascii() {
        return Err(AddressError::NonAsciiLocalPart);
    }
    // The `atext` of RFC 5322 section 3.2.3 and the dot; quoted local parts are refused.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    if !local.bytes().all(allowed) {
        return Err(AddressError::BadCharacter);
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(AddressError::MisplacedDot);
    }
    Ok(())
}

/// Lower-cases a domain and converts it to A-labels; refuses what is not a host name of at least two labels.
///
/// # Errors
/// [`AddressError::BadDomain`], or [`AddressError::BadCharacter`] for control characters and spaces.
pub fn normalise_domain(domain: &str) -> Result<String, AddressError> {
    normal_domain(domain).map(Cow::into_owned)
}

/// As [`normalise_domain`]; borrowed when nothing had to be changed.
fn normal_domain(domain: &str) -> Result<Cow<'_, str>, AddressError> {
    let is_plain =
        domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
            && !domain.contains("xn--");
    let ascii = if is_plain {
        Cow::Borrowed(domain)
    } else if domain.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(AddressError::BadCharacter);
    } else {
        Cow::Owned(idna::domain_to_ascii_strict(domain).map_err(|_| AddressError::BadDomain)?)
    };
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let last_label_is_a_number =
        ascii.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if ascii.len() > 253 || !ascii.contains('.') || !ascii.split('.').all(label_ok) || last_label_is_a_number
    {
        return Err(AddressError::BadDomain);
    }
    Ok(ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_idn_domain_becomes_a_labels() {
        let address = Address::parse("ada@Bücher.example").unwrap();
        assert_eq!(address.as_str(), "ada@xn--bcher-kva.example");
        assert_eq!(address.domain(), "xn--bcher-kva.example");
    }

    #[test]
    fn debug_never_shows_the_local_part() {
        assert_eq!(format!("{:?}", Address::parse("ada@gmail.com").unwrap()), "Address(*@gmail.com)");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for (text, error) in [
            ("ada", AddressError::NoDomain),
            ("ada@", AddressError::NoDomain),
            ("@gmail.com", AddressError::NoDomain),
            ("ada\r\nRCPT TO:<x@y.zz>@gmail.com", AddressError::BadCharacter),
            ("ada@gmail.com\r\n", AddressError::BadCharacter),
            ("a\u{0}b@gmail.com", AddressError::BadCharacter),
            ("a b@gmail.com", AddressError::BadCharacter),
            ("<ada@gmail.com>", AddressError::BadCharacter),
            ("ada@gmail.com>", AddressError::BadDomain),
            (".ada@gmail.com", AddressError::MisplacedDot),
            ("a..b@gmail.com", AddressError::MisplacedDot),
            ("äda@gmail.com", AddressError::NonAsciiLocalPart),
            ("ada@localhost", AddressError::BadDomain),
            ("ada@127.0.0.1", AddressError::BadDomain),
            ("ada@-x.com", AddressError::BadDomain),
            ("ada@gmail..com", AddressError::BadDomain),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text:?}");
        }
        let long_local = format!("{}@gmail.com", "x".repeat(65));
        assert_eq!(Address::parse(&long_local), Err(AddressError::TooLong));
        let long_domain = format!("a@{}com", "abcdefgh.".repeat(40));
        assert!(Address::parse(&long_domain).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_safe_in_an_envelope(text in "\\PC{0,80}|[ -~\\r\\n]{0,300}") {
            if let Ok(address) = Address::parse(&text) {
                let safe = address.as_str().bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
                prop_assert!(safe);
                prop_assert!(address.as_str().len() <= ADDRESS_MAX_BYTES);
                prop_assert!(Address::parse(address.as_str()).is_ok());
            }
        }
    }
}
