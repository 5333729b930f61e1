//! A relay's negative reply as it came.

use sluice_types::clean_detail;

/// A negative reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Three digits.
    pub(super) code: u16,
    /// The text, lines joined; of an enhanced code that opens each line only the first one is left.
    pub(super) text: String,
}

impl Reply {
    /// The first digit of the code.
    pub(super) const fn class(&self) -> u16 {
        self.code / 100
    }

    /// The text for a comparison: in lower case, one space between words, no addresses (which others choose), bounded.
    pub(super) fn words(&self) -> String {
        clean_detail(&self.text).to_ascii_lowercase()
    }

    /// Subject and detail of an enhanced status code (RFC 3463) that opens the text and agrees with the reply code.
    pub(super) fn enhanced(&self) -> Option<(u16, u16)> {
        let word = self.text.split_whitespace().next()?.trim_end_matches([':', ',']);
        let mut parts = word.split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        (parts.next().is_none() && class == self.class()).then_some((subject, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply { code, text: text.to_owned() }
    }

    #[test]
    fn an_enhanced_code_must_agree_with_its_reply() {
        for (text, expected) in [
            ("5.1.1 x", Some((1, 1))),
            ("5.7.515: x", Some((7, 515))),
            ("4.1.1 x", None),
            ("5.1 x", None),
            ("5.1.1.1 x", None),
            ("5.1.1000 x", None),
            ("5..1 x", None),
            ("[1.2.3.4] x", None),
            ("", None),
        ] {
            assert_eq!(reply(550, text).enhanced(), expected, "{text:?}");
        }
    }

    #[test]
    fn words_have_no_address_and_an_end() {
        assert_eq!(
            reply(450, "4.2.1 <Greylist@a.example>:\r\n TOO  many").words(),
            "4.2.1 [address] too many"
        );
        assert!(reply(450, &"a b ".repeat(100_000)).words().len() < 1_000);
    }
}
