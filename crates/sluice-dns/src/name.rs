//! Names as they are asked for and kept: lower case, no final dot, only letters, digits, hyphens and underscores.

/// The longest name without its final dot (RFC 1035 section 2.3.4 allows 255 bytes on the wire).
const NAME_BYTES_MAX: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// `text` as it is kept, or nothing when it cannot be the name of a mail domain or host.
pub(crate) fn tidy(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let well_formed = text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label);
    well_formed.then(|| text.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn names_are_lower_case_without_a_final_dot() {
        let (label, too_long) = ("a".repeat(63), "a".repeat(64));
        let longest = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
        let check = |text: &str, kept: Option<&str>| assert_eq!(tidy(text).as_deref(), kept, "{text}");

        check("Example.ORG.", Some("example.org"));
        check("xn--bcher-kva.example", Some("xn--bcher-kva.example"));
        check("_mail.example", Some("_mail.example"));
        check(&longest, Some(&longest));
        for wrong in
            ["", ".", "..", "a..b", ".a", "a..", "[192.0.2.1]", "a b", "b\u{fc}cher", "a\\.b", "a\0b"]
        {
            check(wrong, None);
        }
        check(&too_long, None);
        check(&format!("{longest}a"), None);
    }
}
