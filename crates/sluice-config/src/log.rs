//! `[log]`: what is written to standard error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reader::{self, Section};

const FILTER: &str = "info";

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For log collectors, one object a line.
    Json,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Log {
    /// `text` for people, `json` for log collectors. Default `text`.
    pub format: LogFormat,
    /// Which lines are written: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module such as
    /// `info,sluice_engine=debug`. More: `debug` writes several lines a job. Less: `error` hides warnings of what is about
    /// to fail. Default `info`.
    pub filter: String,
}

impl Log {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            format: section.word("format", LogFormat::default()),
            filter: section.text("filter").unwrap_or_else(|| FILTER.to_owned()),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
