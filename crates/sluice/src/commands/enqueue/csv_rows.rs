//! Rows of a CSV file of any size: RFC 4180, with either line end, in fixed memory whatever a quote leaves open.

use std::io::{BufRead, ErrorKind};

use csv_core::ReadRecordResult;

/// The UTF-8 byte order mark. The parser takes one away too, but takes a read that held nothing else for the end.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// More columns than this are no table of jobs.
const COLUMNS_MAX: usize = 1024;

/// Reads rows into one buffer that never grows.
#[derive(Debug)]
pub(super) struct CsvRows<R> {
    input: R,
    core: csv_core::Reader,
    cells: Vec<u8>,
    ends: Vec<usize>,
    line: u64,
    consumed_bytes: u64,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its cells; `None` when it is longer than the buffer.
    pub(super) cells: Option<Cells<'a>>,
}

/// The cells of a row, as bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Cells<'a> {
    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.ends.len()
    }

    /// From the first to the last.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, ends) = (self.bytes, self.ends);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(ends).map(move |(start, end)| bytes.get(start..*end).unwrap_or_default())
    }

    fn is_blank(&self) -> bool {
        self.count() == 1 && self.bytes.trim_ascii().is_empty()
    }
}

/// How one record ended.
enum End {
    Row { cells: usize, bytes: usize, is_long: bool },
    File,
}

impl<R: BufRead> CsvRows<R> {
    /// Reads from `input` rows of at most `max_bytes`.
    pub(super) fn new(input: R, delimiter: u8, max_bytes: usize) -> Self {
        Self {
            input,
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            cells: vec![0; max_bytes],
            ends: vec![0; COLUMNS_MAX],
            line: 1,
            consumed_bytes: 0,
        }
    }

    /// How much of the input was read.
    pub(super) const fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Row<'_>>> {
        if self.consumed_bytes == 0 {
            self.skip_byte_order_mark()?;
        }
        loop {
            self.skip_line_ends()?;
            let line = self.line;
            let End::Row { cells, bytes, is_long } = self.read_record()? else { return Ok(None) };
            let found = Cells {
                bytes: self.cells.get(..bytes).unwrap_or_default(),
                ends: self.ends.get(..cells).unwrap_or_default(),
            };
            if is_long {
                return Ok(Some(Row { line, cells: None }));
            }
            if !found.is_blank() {
                // Again, because the borrow of a value that is returned from a loop would outlive it.
                let bytes = self.cells.get(..bytes).unwrap_or_default();
                let ends = self.ends.get(..cells).unwrap_or_default();
                return Ok(Some(Row { line, cells: Some(Cells { bytes, ends }) }));
            }
        }
    }

    fn read_record(&mut self) -> std::io::Result<End> {
        let (mut bytes, mut cells, mut is_long) = (0, 0, false);
        loop {
            let available = fill(&mut self.input)?;
            let (result, used, more_bytes, more_cells) = self.core.read_record(
                available,
                self.cells.get_mut(bytes..).unwrap_or_default(),
                self.ends.get_mut(cells..).unwrap_or_default(),
            );
            let part = available.get(..used).unwrap_or_default();
            self.line += count_lines(part);
            self.consumed_bytes += u64::try_from(used).unwrap_or(0);
            self.input.consume(used);
            bytes += more_bytes;
            cells += more_cells;
            match result {
                ReadRecordResult::InputEmpty => {}
                // What does not fit is read over the top of what did, to the end of the record.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (bytes, cells, is_long) = (0, 0, true);
                }
                ReadRecordResult::Record => return Ok(End::Row { cells, bytes, is_long }),
                ReadRecordResult::End => return Ok(End::File),
            }
        }
    }

    fn skip_byte_order_mark(&mut self) -> std::io::Result<()> {
        for byte in BYTE_ORDER_MARK {
            if fill(&mut self.input)?.first() != Some(&byte) {
                break;
            }
            self.input.consume(1);
            self.consumed_bytes += 1;
        }
        Ok(())
    }

    /// Between two records, so that the line of a row is the one on which it begins.
    fn skip_line_ends(&mut self) -> std::io::Result<()> {
        loop {
            let available = fill(&mut self.input)?;
            let used = available.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let is_all = used == available.len();
            self.line += count_lines(available.get(..used).unwrap_or_default());
            self.consumed_bytes += u64::try_from(used).unwrap_or(0);
            self.input.consume(used);
            if used == 0 || !is_all {
                return Ok(());
            }
        }
    }
}

fn fill<R: BufRead>(input: &mut R) -> std::io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            // Asked again below: a borrow that is returned here would last for the whole loop.
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    input.fill_buf()
}

fn count_lines(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(input: &[u8], buffer: usize) -> Vec<(u64, Option<Vec<String>>)> {
        let mut rows = CsvRows::new(std::io::BufReader::with_capacity(buffer, input), b',', 32);
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let text = |cell: &[u8]| String::from_utf8(cell.to_vec()).unwrap();
            found.push((row.line, row.cells.map(|cells| cells.iter().map(text).collect())));
        }
        assert_eq!(rows.consumed_bytes(), input.len() as u64);
        found
    }

    fn check(input: &str, expected: &[(u64, Option<&[&str]>)]) {
        let owned = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let expected: Vec<_> = expected.iter().map(|(at, cells)| (*at, cells.map(owned))).collect();
        for buffer in [3, 7, 4096] {
            assert_eq!(rows(input.as_bytes(), buffer), expected, "{input:?} with a buffer of {buffer}");
        }
    }

    #[test]
    fn quotes_line_ends_and_blank_lines_are_understood() {
        check("", &[]);
        check("\u{feff}a,b\r\n1,2", &[(1, Some(&["a", "b"])), (2, Some(&["1", "2"]))]);
        check("a\n\n\r\n  \n\"x\ny\"\nz\n", &[(1, Some(&["a"])), (5, Some(&["x\ny"])), (7, Some(&["z"]))]);
        check("\"a \"\"b\"\"\",\n,\n", &[(1, Some(&["a \"b\"", ""])), (2, Some(&["", ""]))]);
    }

    #[test]
    fn a_long_row_is_skipped_and_the_next_one_is_read() {
        let long = "x".repeat(100);
        check(&format!("a\n{long},{long}\nb\n"), &[(1, Some(&["a"])), (2, None), (3, Some(&["b"]))]);
        check(&format!("a\n\"{long}\n{long}\"\nb\n"), &[(1, Some(&["a"])), (2, None), (4, Some(&["b"]))]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_and_are_counted_whole(
            bytes in proptest::collection::vec(proptest::sample::select(b"a,\"\r\n \xff\0;".to_vec()), 0..300),
            buffer in 1_usize..64,
        ) {
            let mut rows = CsvRows::new(std::io::BufReader::with_capacity(buffer, bytes.as_slice()), b',', 32);
            let mut last = 0;
            while let Some(row) = rows.next().unwrap() {
                // A bare carriage return ends a row and begins no line.
                proptest::prop_assert!(row.line >= last, "line {} after {last}", row.line);
                last = row.line;
                if let Some(cells) = row.cells {
                    proptest::prop_assert!((1..=COLUMNS_MAX).contains(&cells.count()));
                    proptest::prop_assert!(cells.iter().map(<[u8]>::len).sum::<usize>() <= 32);
                }
            }
            proptest::prop_assert_eq!(rows.consumed_bytes(), bytes.len() as u64);
        }
    }

    #[test]
    fn a_quote_that_is_left_open_costs_no_memory() {
        check(&format!("a\n\"{}", "line\n".repeat(1000)), &[(1, Some(&["a"])), (2, None)]);
    }
}
