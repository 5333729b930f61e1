//! The jobs of a file, one after another: from lines or rows to bodies.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use sluice_types::{BODY_MAX_BYTES, JobDocument, Refusal, RefusalReason};

use super::columns::Columns;
use super::csv_rows::{Cells, CsvRows};
use super::defaults::Defaults;
use super::{EnqueueArgs, InputForm, identity};
use crate::cli::UsageError;
use crate::commands::lines::{Line, Lines, open};

/// A file that is being read.
pub(super) struct Source {
    path: PathBuf,
    size_bytes: Option<u64>,
    defaults: Defaults,
    input: Input,
}

enum Input {
    Csv(Box<CsvRows<Box<dyn BufRead>>>, Columns),
    Jsonl(Lines<Box<dyn BufRead>>),
}

/// What one line is.
#[derive(Debug)]
pub(super) struct Record {
    /// Its number, from 1.
    pub(super) line: u64,
    /// The body of its job, or why it is none.
    pub(super) body: Result<Bytes, Refusal>,
}

impl Source {
    /// Opens the file and understands its header.
    pub(super) fn open(args: &EnqueueArgs) -> anyhow::Result<Self> {
        let defaults = args.defaults.read()?;
        let (mut reader, size_bytes) = open(&args.file)?;
        let form = match args.input.or_else(|| form_of_name(&args.file)) {
            Some(form) => form,
            None => form_of_content(&mut reader)
                .with_context(|| format!("cannot read {}", args.file.display()))?
                .ok_or_else(|| {
                    UsageError::new(
                        "the file's name does not say what it holds: add --input csv or --input jsonl",
                    )
                })?,
        };
        let input = match form {
            InputForm::Jsonl => Input::Jsonl(Lines::new(reader, BODY_MAX_BYTES)),
            InputForm::Csv => {
                let mut rows = CsvRows::new(reader, args.delimiter, BODY_MAX_BYTES);
                let columns = header(&mut rows, args, &defaults)?;
                Input::Csv(Box::new(rows), columns)
            }
        };
        Ok(Self { path: args.file.clone(), size_bytes, defaults, input })
    }

    /// The size of the file, if it is one.
    pub(super) const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// How much of it was read.
    pub(super) const fn consumed_bytes(&self) -> u64 {
        match &self.input {
            Input::Csv(rows, _) => rows.consumed_bytes(),
            Input::Jsonl(lines) => lines.consumed_bytes(),
        }
    }

    /// The next line that is not blank.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        let context = || format!("cannot read {}", self.path.display());
        match &mut self.input {
            Input::Csv(rows, columns) => {
                let Some(row) = rows.next().with_context(context)? else { return Ok(None) };
                let body =
                    row.cells.ok_or_else(too_long_row).and_then(|it| of_row(columns, it, &self.defaults));
                Ok(Some(Record { line: row.line, body }))
            }
            Input::Jsonl(lines) => {
                let Some(line) = lines.next().with_context(context)? else { return Ok(None) };
                Ok(Some(Record { line: line.number, body: of_line(line, &self.defaults) }))
            }
        }
    }
}

/// What a file's name says.
fn form_of_name(path: &Path) -> Option<InputForm> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Some(InputForm::Csv),
        "jsonl" | "ndjson" | "json" => Some(InputForm::Jsonl),
        _ => None,
    }
}

/// What the first bytes say: no column begins with a brace.
fn form_of_content(reader: &mut impl BufRead) -> std::io::Result<Option<InputForm>> {
    let first = reader.fill_buf()?.trim_ascii_start().first().copied();
    Ok((first == Some(b'{')).then_some(InputForm::Jsonl))
}

fn header(
    rows: &mut CsvRows<Box<dyn BufRead>>,
    args: &EnqueueArgs,
    defaults: &Defaults,
) -> anyhow::Result<Columns> {
    let context = || format!("the header of {}", args.file.display());
    let Some(row) = rows.next().with_context(context)? else {
        bail!("{}: the file is empty; its first line names the columns", context())
    };
    let cells = row.cells.ok_or_else(|| anyhow!("{}", too_long_row().detail)).with_context(context)?;
    let names: Result<Vec<String>, _> = cells.iter().map(|it| String::from_utf8(it.to_vec())).collect();
    let names = names.context("it is not UTF-8").with_context(context)?;
    // What is missing can be given on the command line.
    Columns::read(&names, args.var_columns, defaults)
        .map_err(|faults| UsageError::new(format!("the header of {}: {faults}", args.file.display())).into())
}

fn of_row(columns: &Columns, cells: Cells<'_>, defaults: &Defaults) -> Result<Bytes, Refusal> {
    if cells.count() != columns.count() {
        let detail = format!("has {} cells, the header names {} columns", cells.count(), columns.count());
        return Err(Refusal::new(RefusalReason::InvalidValue, "", detail));
    }
    let mut texts = Vec::with_capacity(cells.count());
    for (at, cell) in cells.iter().enumerate() {
        let text = std::str::from_utf8(cell);
        texts.push(text.map_err(|_| {
            Refusal::new(RefusalReason::NotUtf8, columns.name(at), "is not UTF-8; convert the file")
        })?);
    }
    let mut document = columns.document(texts.into_iter());
    defaults.fill(&mut document);
    identity::body(document)
}

/// A line that says all that is needed goes out as it is; one that is no document too, to be told what is wrong with it.
fn of_line(line: Line, defaults: &Defaults) -> Result<Bytes, Refusal> {
    let bytes = line.bytes.ok_or_else(|| {
        let detail = format!("the line is longer than {BODY_MAX_BYTES} bytes");
        Refusal::new(RefusalReason::TooLarge, "", detail)
    })?;
    let Ok(mut document) = serde_json::from_slice::<JobDocument>(&bytes) else {
        return Ok(Bytes::from(bytes));
    };
    let has_filled = defaults.fill(&mut document);
    if document.id.is_some() && !has_filled {
        return Ok(Bytes::from(bytes));
    }
    identity::body(document)
}

fn too_long_row() -> Refusal {
    let detail = format!("the row is longer than {BODY_MAX_BYTES} bytes; is a quote left open?");
    Refusal::new(RefusalReason::TooLarge, "", detail)
}
