//! Lines of a file that may be of any size, whatever it holds.

use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::Context;

/// The UTF-8 byte order mark that some programs put first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Opens a file, or stdin for `-`; answers its size too, if it has one.
pub(crate) fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::new(std::io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let size = file.metadata().ok().filter(Metadata::is_file).map(|it| it.len());
    Ok((Box::new(BufReader::new(file)), size))
}

/// Reads lines without holding more than one, and that only up to a bound.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    max_bytes: usize,
    number: u64,
    consumed_bytes: u64,
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Its bytes; `None` when there were more than the bound.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `input` lines of at most `max_bytes`.
    pub(crate) const fn new(input: R, max_bytes: usize) -> Self {
        Self { input, max_bytes, number: 0, consumed_bytes: 0 }
    }

    /// How much of the input was read.
    pub(crate) const fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes
    }

    /// The next line that is not blank.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Line>> {
        while let Some(bytes) = self.next_bytes()? {
            let is_blank = bytes.as_deref().is_some_and(|bytes| bytes.trim_ascii().is_empty());
            if !is_blank {
                return Ok(Some(Line { number: self.number, bytes }));
            }
        }
        Ok(None)
    }

    fn next_bytes(&mut self) -> std::io::Result<Option<Option<Vec<u8>>>> {
        let mut bytes = Vec::new();
        let (mut is_long, mut is_begun) = (false, false);
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if !is_begun {
                    return Ok(None);
                }
                break;
            }
            is_begun = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            // One more for the CR before the end.
            if bytes.len() + part.len() > self.max_bytes + 1 {
                is_long = true;
                bytes = Vec::new();
            } else if !is_long {
                bytes.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            self.consumed_bytes += u64::try_from(used).unwrap_or(0);
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        is_long |= bytes.len() > self.max_bytes;
        Ok(Some((!is_long).then_some(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: &[(u64, Option<&str>)]) {
        // A buffer of 3 bytes, so that every line crosses it somewhere.
        let mut lines = Lines::new(std::io::BufReader::with_capacity(3, input), 8);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.number, line.bytes.map(|bytes| String::from_utf8(bytes).unwrap())));
        }
        let expected: Vec<_> = expected.iter().map(|(at, text)| (*at, text.map(str::to_owned))).collect();
        assert_eq!(found, expected);
        assert_eq!(lines.consumed_bytes(), input.len() as u64);
    }

    #[test]
    fn every_line_end_is_known_and_blank_lines_are_counted() {
        check(b"", &[]);
        check(b"one", &[(1, Some("one"))]);
        check(b"one\r\n\r\n \ntwo\nthree\n", &[(1, Some("one")), (4, Some("two")), (5, Some("three"))]);
        check(b"\xef\xbb\xbfone\n", &[(1, Some("one"))]);
    }

    #[test]
    fn a_long_line_is_skipped_and_the_next_one_is_read() {
        check(b"12345678\r\n", &[(1, Some("12345678"))]);
        check(b"123456789\nok\n", &[(1, None), (2, Some("ok"))]);
        check(b"12345678901234567890123456789", &[(1, None)]);
    }
}
