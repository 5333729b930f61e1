//! One table, and the keys that were asked for: its faults, sections and lists.

use toml::{Table, Value};

use super::Reader;
use super::value::{literal, text, word_for};
use crate::fault::ConfigFault;

/// One table of the text under its path.
pub(crate) struct Section<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl<'a> Section<'_, 'a> {
    /// Reads `table` with `read`, then reports every key that `read` did not ask for.
    pub(super) fn over<T>(
        reader: &mut Reader<'a>,
        path: String,
        table: Table,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let mut section = Section { reader, path, table, known: Vec::new() };
        let found = read(&mut section);
        for key in section.table.keys() {
            section.reader.unknown(&join(&section.path, &quoted(key)), &section.known);
        }
        found
    }

    /// Whether the key is there and was not read yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the key is there and is anything but an empty list.
    pub(crate) fn has_entries(&self, key: &str) -> bool {
        let Some(value) = self.table.get(key) else { return false };
        let is_variable = self.is_variable(&join(&self.path, key));
        let value = if is_variable { literal(value.clone()) } else { value.clone() };
        value.as_array().is_none_or(|items| !items.is_empty())
    }

    /// How many faults there are so far, over all sections.
    pub(crate) fn fault_count(&self) -> usize {
        self.reader.faults.len()
    }

    /// Reports a fault of one key of this section.
    pub(crate) fn fault(&mut self, key: &str, detail: impl std::fmt::Display) {
        self.reader.fault(&join(&self.path, key), detail);
    }

    /// Reports a fault of this section as a whole.
    pub(crate) fn fault_here(&mut self, detail: impl std::fmt::Display) {
        self.reader.fault(&self.path, detail);
    }

    /// Reports something that is allowed and is hardly meant.
    pub(crate) fn warn(&mut self, key: &str, detail: impl Into<String>) {
        self.reader.warnings.push(ConfigFault { key: join(&self.path, key), detail: detail.into() });
    }

    fn take(&mut self, key: &'static str) -> Option<(String, Value)> {
        self.known.push(key);
        self.table.remove(key).map(|value| (join(&self.path, key), value))
    }

    fn is_variable(&self, path: &str) -> bool {
        self.reader.variables.contains_key(path)
    }

    /// The value under the key; a variable's text is read as TOML if it is that.
    pub(super) fn take_value(&mut self, key: &'static str) -> Option<(String, Value)> {
        let (path, value) = self.take(key)?;
        let value = if self.is_variable(&path) { literal(value) } else { value };
        Some((path, value))
    }

    /// The text under the key; a variable's text is taken as it is.
    pub(super) fn take_text(&mut self, key: &'static str) -> Option<(String, String)> {
        let (path, value) = self.take(key)?;
        let found = text(value, self.is_variable(&path));
        match found {
            Ok(text) => Some((path, text)),
            Err(value) => {
                self.reader.fault(&path, format_args!("must be a text, not {}", word_for(&value)));
                None
            }
        }
    }

    /// A table under the key; an empty one if there is none.
    pub(crate) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let path = join(&self.path, key);
        let table = self.take_table(key).unwrap_or_default();
        Section::over(self.reader, path, table, read)
    }

    /// A table under the key, if there is one.
    pub(crate) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> Option<T>,
    ) -> Option<T> {
        let path = join(&self.path, key);
        let table = self.take_table(key)?;
        Section::over(self.reader, path, table, read)
    }

    /// Every table of the table under the key with its name, without those that `read` gives up on.
    pub(crate) fn named_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'_, 'a>) -> Option<T>,
    ) -> Vec<T> {
        let parent = join(&self.path, key);
        let mut found = Vec::new();
        for (name, value) in self.take_table(key).unwrap_or_default() {
            let path = join(&parent, &quoted(&name));
            let value = if self.is_variable(&path) { literal(value) } else { value };
            if let Some(table) = self.table_of(&path, value) {
                found.extend(Section::over(self.reader, path, table, |section| read(&name, section)));
            }
        }
        found
    }

    fn take_table(&mut self, key: &'static str) -> Option<Table> {
        let (path, value) = self.take_value(key)?;
        self.table_of(&path, value)
    }

    fn table_of(&mut self, path: &str, value: Value) -> Option<Table> {
        match value {
            Value::Table(table) => Some(table),
            other => {
                self.reader.fault(path, format_args!("must be a section, not {}", word_for(&other)));
                None
            }
        }
    }

    /// Every entry of the list under the key with its path; a variable's text is read as TOML if it is that.
    pub(super) fn take_list(&mut self, key: &'static str, of: &str) -> Option<Vec<(String, Value)>> {
        let (path, value) = self.take_value(key)?;
        let Value::Array(items) = value else {
            self.reader.fault(&path, format_args!("must be a list of {of}, not {}", word_for(&value)));
            return None;
        };
        let entry = |(at, item)| {
            let path = format!("{path}[{at}]");
            let item = if self.is_variable(&path) { literal(item) } else { item };
            (path, item)
        };
        Some(items.into_iter().enumerate().map(entry).collect())
    }

    /// Every table of the array under the key, in order, without those that `read` gives up on.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_, 'a>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.take_list(key, &format!("sections ([[{key}]])")).unwrap_or_default();
        let mut found = Vec::new();
        for (path, item) in items {
            if let Some(table) = self.table_of(&path, item) {
                found.extend(Section::over(self.reader, path, table, &mut read));
            }
        }
        found
    }

    /// Every text of the array under the key that `parse` takes.
    pub(crate) fn texts<T, E: std::fmt::Display>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some((path, value)) = self.take_value(key) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.reader.fault(&path, format_args!("must be a list of texts, not {}", word_for(&value)));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            match text(item, self.is_variable(&path)) {
                Err(value) => {
                    self.reader.fault(&path, format_args!("must be a text, not {}", word_for(&value)))
                }
                Ok(text) => match parse(&text) {
                    Ok(item) => found.push(item),
                    Err(error) => self.reader.fault(&path, error),
                },
            }
        }
        found
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Keys that need quotes in TOML are shown escaped, so that a fault stays on one line.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}
