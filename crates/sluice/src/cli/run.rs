//! The arguments of `sluice run`, and what they change in the configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use secrecy::{ExposeSecret, SecretString};
use sluice_config::{Config, ConfigFault, ConfigFaults, EspKind, VARIABLE_PREFIX};
use sluice_types::EspId;

use crate::commands::run::RunRoles;
use crate::environment;
use crate::settings::{self, SettingsError};

/// Name of the ESP that `--smtp` stands for.
const SMTP_ESP: &str = "smtp";

const EXAMPLES: &str = "\
Examples:
  sluice run
      everything in one process on ./sluice.db, HTTP on 127.0.0.1:8025; the one ESP is a sandbox
      that delivers nothing
  sluice run --smtp 'smtps://user:secret@mail.example:465'
      the same, and mail is delivered; in user and secret write / ? # @ : and % as
      %2F %3F %23 %40 %3A and %25
  sluice run --config sluice.toml --roles worker,relay
      a replica without HTTP; add and remove replicas at any moment

A command line can be seen by everybody on the machine. For more than a trial put the address of
the mail server into a file and name it as `url_file` of an [[esp]].

SIGTERM or Ctrl-C drains: no new jobs are taken, what is being sent is finished and recorded within
`worker.drain_timeout`, the rest stays queued. Exit code 0: nothing was left half done. A second
signal leaves at once.";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Send the jobs of the lanes.
    Worker,
    /// Publish parked jobs when they are due.
    Relay,
    /// Answer health, metrics and the API.
    Http,
}

/// `sluice run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// What this process does; everything by default
    #[arg(long, value_enum, value_delimiter = ',', value_name = "worker,relay,http")]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    #[arg(default_values_t = [Role::Worker, Role::Relay, Role::Http])]
    roles: Vec<Role>,
    /// Mail server to send through in place of the sandbox, where the configuration names no `[[esp]]`
    #[arg(long, value_name = "URL")]
    smtp: Option<SecretString>,
    /// Address and port of HTTP; wins over `http.listen`
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

impl RunArgs {
    pub(super) fn roles(&self) -> RunRoles {
        let has = |role| self.roles.contains(&role);
        RunRoles { worker: has(Role::Worker), relay: has(Role::Relay), http: has(Role::Http) }
    }

    /// The configuration with `--smtp` and `--listen`; checked as if they stood in it.
    pub(super) fn configure(&self, mut config: Config, file: Option<&Path>) -> Result<Config, SettingsError> {
        let mut faults = Vec::new();
        if let Some(listen) = self.listen {
            let is_outside = !listen.ip().to_canonical().is_loopback();
            if is_outside && config.http.tokens.is_empty() && !config.http.allow_unauthenticated {
                faults.push(fault(
                    "--listen",
                    "is reachable from outside this machine: add [[http.token]] entries, or say http.allow_unauthenticated = true",
                ));
            }
            config.http.listen = Some(listen);
        }
        if let Some(url) = &self.smtp {
            if names_esps(file) {
                let detail = "stands in for the sandbox, but the configuration names an [[esp]]; add the mail server there";
                faults.push(fault("--smtp", detail));
            } else if let Err(found) = send_through(&mut config, url) {
                faults.extend(found.0);
            }
        }
        if faults.is_empty() {
            Ok(config)
        } else {
            let source_name = "the command line".to_owned();
            Err(SettingsError::Faulty { source_name, faults: ConfigFaults(faults) })
        }
    }
}

fn fault(key: &str, detail: &str) -> ConfigFault {
    ConfigFault { key: key.to_owned(), detail: detail.to_owned() }
}

/// Whether an ESP was configured, in the file or by variables. The configuration was read before, so the file can be.
fn names_esps(file: Option<&Path>) -> bool {
    let in_file = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        let table: toml::Table = toml::from_str(&text).ok()?;
        table.get("esp")?.as_array().map(|esps| !esps.is_empty())
    };
    let prefix = format!("{VARIABLE_PREFIX}ESP");
    settings::file(file).and_then(in_file).unwrap_or(false)
        || environment::variables().iter().any(|(name, _)| name.starts_with(&prefix))
}

/// Puts the mail server where the sandbox stands.
fn send_through(config: &mut Config, url: &SecretString) -> Result<(), ConfigFaults> {
    let keys = [("NAME", SMTP_ESP), ("KIND", EspKind::Smtp.as_str()), ("URL", url.expose_secret())];
    let overlay = keys.map(|(key, text)| (format!("{VARIABLE_PREFIX}ESP__0__{key}"), text.to_owned()));
    let no_files = |_: &str| Err("no file is read here".to_owned());
    let smtp = Config::load("", &overlay, &no_files).map_err(|faults| {
        // The key of the overlay means nothing to whoever wrote the option.
        ConfigFaults(faults.0.into_iter().map(|it| fault("--smtp", &it.detail)).collect())
    })?;
    let sandboxes: Vec<EspId> = config.esps.iter().map(|esp| esp.name.clone()).collect();
    let smtp_names: Vec<EspId> = smtp.esps.iter().map(|esp| esp.name.clone()).collect();
    let renamed = |name: &mut EspId| {
        let at = sandboxes.iter().position(|sandbox| sandbox == name);
        if let Some(smtp) = at.and_then(|at| smtp_names.get(at)) {
            name.clone_from(smtp);
        }
    };
    for pool in &mut config.pools {
        pool.members.iter_mut().for_each(|member| renamed(&mut member.esp));
        pool.failover.iter_mut().for_each(renamed);
    }
    config.esps = smtp.esps;
    let relabelled = smtp.warnings.into_iter().map(|it| fault("--smtp", &it.detail));
    config.warnings.extend(relabelled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(url: &str) -> Result<Config, SettingsError> {
        let args = RunArgs { roles: vec![Role::Worker], smtp: Some(url.into()), listen: None };
        args.configure(Config::default(), None)
    }

    #[test]
    fn the_mail_server_takes_the_place_of_the_sandbox_in_every_pool() {
        let config = configured("smtps://user:hunter2@mail.example").unwrap();
        assert_eq!(config.esps[0].kind, EspKind::Smtp);
        assert_eq!(config.pools[0].members[0].esp, config.esps[0].name);
        assert_eq!(config.esps[0].name.as_str(), "smtp");
    }

    #[test]
    fn a_wrong_address_is_told_without_its_secret() {
        let error = configured("smtps://user:hunter2@mail.example/inbox").unwrap_err().to_string();
        assert!(error.contains("--smtp: has something after the host"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_address_that_the_world_can_reach_needs_tokens() {
        let listen = Some("0.0.0.0:8025".parse().unwrap());
        let args = RunArgs { roles: vec![Role::Http], smtp: None, listen };
        let error = args.configure(Config::default(), None).unwrap_err().to_string();
        assert!(error.contains("--listen: is reachable"), "{error}");
    }
}
