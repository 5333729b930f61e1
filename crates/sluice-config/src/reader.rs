//! Takes keys out of a parsed text one by one, and collects what is wrong instead of stopping at it.
//!
//! Every section of the configuration has a `read` function over a [`Section`]. A key that nobody asked for is a fault.

mod scalar;
mod section;
mod value;

use std::collections::BTreeMap;

use toml::Table;

pub(crate) use section::Section;

use crate::fault::ConfigFault;

/// Reads the file that a `*_file` key names.
pub(crate) type ReadSecret<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// What all sections of one configuration share.
pub(crate) struct Reader<'a> {
    read_secret: ReadSecret<'a>,
    /// Key path to the variable that set it.
    variables: BTreeMap<String, String>,
    pub(crate) faults: Vec<ConfigFault>,
    pub(crate) warnings: Vec<ConfigFault>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(read_secret: ReadSecret<'a>, variables: BTreeMap<String, String>) -> Self {
        Self { read_secret, variables, faults: Vec::new(), warnings: Vec::new() }
    }

    /// Reads the whole text.
    pub(crate) fn root<T>(&mut self, table: Table, read: impl FnOnce(&mut Section<'_, 'a>) -> T) -> T {
        Section::over(self, String::new(), table, read)
    }

    fn fault(&mut self, key: &str, detail: impl std::fmt::Display) {
        let detail = match self.variables.get(key) {
            Some(variable) => format!("{detail} (set by {variable})"),
            None => detail.to_string(),
        };
        self.faults.push(ConfigFault { key: key.to_owned(), detail });
    }

    fn unknown(&mut self, key: &str, known: &[&'static str]) {
        let mut detail = format!("is not a known key; known here: {}", known.join(", "));
        let beneath = self.variables.range(key.to_owned()..).take_while(|(path, _)| path.starts_with(key));
        for (path, variable) in beneath {
            let rest = path.strip_prefix(key).unwrap_or_default();
            if rest.is_empty() || rest.starts_with(['.', '[']) {
                detail.push_str(&format!(" (set by {variable})"));
            }
        }
        self.faults.push(ConfigFault { key: key.to_owned(), detail });
    }
}

/// The defaults of a section: what reading an empty one gives.
pub(crate) fn defaults<T>(read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
    Reader::new(&|_| Err("there are no files here".to_owned()), BTreeMap::new()).root(Table::new(), read)
}
