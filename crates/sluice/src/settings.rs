//! Finds and reads the configuration: `--config FILE`, else `SLUICE_CONFIG`, else the embedded default.

use std::path::{Path, PathBuf};

use sluice_config::{Config, ConfigFault, ConfigFaults};

use crate::environment;

/// A configuration that does not stand: exit code 78.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It has faults; all of them are told.
    #[error("{}{}:\n{faults}", .source_name, if .faults.0.len() == 1 { " has a fault" } else { " has faults" })]
    Faulty { source_name: String, faults: ConfigFaults },
    /// It reads well, but what it names cannot be used: a certificate file, an address, an account of a server.
    #[error("{key} cannot be used")]
    Unusable {
        key: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SettingsError {
    /// What stands under `key` cannot be used.
    pub(crate) fn unusable(
        key: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unusable { key: key.into(), source: source.into() }
    }
}

/// The configuration file; none for the embedded default.
pub(crate) fn file(config_file: Option<&Path>) -> Option<PathBuf> {
    let named = || environment::variable("SLUICE_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
    config_file.map(Path::to_owned).or_else(named)
}

/// Reads and checks the configuration.
pub(crate) fn load(config_file: Option<&Path>) -> Result<Config, SettingsError> {
    let file = file(config_file);
    let text = match &file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { path: path.clone(), source })?,
    };
    let source_name = file.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
    let faulty = |faults| SettingsError::Faulty { source_name, faults };
    let config = Config::load(&text, &environment::variables(), &read_secret);
    config.and_then(with_log_filter).map_err(faulty)
}

/// The configuration, if its `log.filter` parses: that only the log itself can tell.
fn with_log_filter(config: Config) -> Result<Config, ConfigFaults> {
    match sluice_telemetry::check_filter(&config.log.filter) {
        Ok(()) => Ok(config),
        Err(error) => {
            let detail =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Err(ConfigFaults(vec![ConfigFault { key: "log.filter".to_owned(), detail }]))
        }
    }
}

/// Reads a secret's file; the line break at its end is not part of it.
fn read_secret(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|e| e.to_string())
}
