//! Starts the log of a command.

use sluice_config::{ConfigFault, ConfigFaults, Log};
use sluice_telemetry::{LogFormat, LoggingError, start_logging};

use super::{Global, LogForm, UsageError};
use crate::settings::SettingsError;

impl Global {
    /// The log of the service: as the configuration says, where the command line does not.
    pub(super) fn log_as_configured(&self, log: &Log) -> anyhow::Result<()> {
        let format = match log.format {
            sluice_config::LogFormat::Text => LogFormat::Text,
            sluice_config::LogFormat::Json => LogFormat::Json,
        };
        self.start_log(format, &log.filter)
    }

    /// The log of a command that prints what it has to say.
    pub(super) fn log_quietly(&self, filter: &str) -> anyhow::Result<()> {
        self.start_log(LogFormat::Text, filter)
    }

    fn start_log(&self, format: LogFormat, filter: &str) -> anyhow::Result<()> {
        let format = match self.log_format {
            None => format,
            Some(LogForm::Text) => LogFormat::Text,
            Some(LogForm::Json) => LogFormat::Json,
        };
        match start_logging(format, self.log_filter.as_deref().unwrap_or(filter)) {
            Ok(()) => Ok(()),
            Err(LoggingError::Filter(error)) if self.log_filter.is_some() => {
                Err(UsageError::new(format!("--log: {error}")).into())
            }
            Err(LoggingError::Filter(error)) => {
                let fault = ConfigFault { key: "log.filter".to_owned(), detail: error.to_string() };
                let faults = ConfigFaults(vec![fault]);
                Err(SettingsError::Faulty { source_name: "the configuration".to_owned(), faults }.into())
            }
            Err(error @ LoggingError::Started(_)) => Err(error.into()),
        }
    }
}
