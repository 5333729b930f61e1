//! Options that say for every job what a line does not say.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use sluice_types::{
    Address, BODY_MAX_BYTES, Campaign, Class, JobDocument, MailboxDocument, PoolName, Tenant,
};

/// The options.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For every line that does not say it itself")]
pub(super) struct DefaultArgs {
    /// Sender, `news@acme.example` or `Acme <news@acme.example>`
    #[arg(long, value_name = "MAILBOX", value_parser = mailbox)]
    from: Option<MailboxDocument>,
    /// Subject; a template when there are vars
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// File with the HTML body; a template when there are vars
    #[arg(long, value_name = "FILE")]
    html_file: Option<PathBuf>,
    /// File with the text body; a template when there are vars
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// `transactional` (somebody waits for it) or `bulk`
    #[arg(long, value_parser = PossibleValuesParser::new(Class::ALL.map(Class::as_str)))]
    #[arg(hide_possible_values = true)]
    class: Option<String>,
    /// Pool of ESPs
    #[arg(long)]
    pool: Option<PoolName>,
    /// Campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<Campaign>,
    /// Whose jobs they are
    #[arg(long)]
    tenant: Option<Tenant>,
}

/// What is filled in.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    pub(super) from: Option<MailboxDocument>,
    pub(super) subject: Option<String>,
    pub(super) html: Option<String>,
    pub(super) text: Option<String>,
    class: Option<String>,
    pool: Option<String>,
    campaign: Option<String>,
    tenant: Option<String>,
}

impl DefaultArgs {
    /// Reads the files.
    pub(super) fn read(&self) -> anyhow::Result<Defaults> {
        Ok(Defaults {
            from: self.from.clone(),
            subject: self.subject.clone(),
            html: self.html_file.as_deref().map(read).transpose()?,
            text: self.text_file.as_deref().map(read).transpose()?,
            class: self.class.clone(),
            pool: self.pool.as_ref().map(ToString::to_string),
            campaign: self.campaign.as_ref().map(ToString::to_string),
            tenant: self.tenant.as_ref().map(ToString::to_string),
        })
    }
}

impl Defaults {
    /// Fills in what `document` leaves open; answers whether anything was.
    pub(super) fn fill(&self, document: &mut JobDocument) -> bool {
        let pairs = [
            (&mut document.subject, &self.subject),
            (&mut document.html, &self.html),
            (&mut document.text, &self.text),
            (&mut document.class, &self.class),
            (&mut document.pool, &self.pool),
            (&mut document.campaign, &self.campaign),
            (&mut document.tenant, &self.tenant),
        ];
        let mut has_filled = false;
        for (field, default) in pairs {
            has_filled |= fill(field, default);
        }
        if let Some(from) = &self.from {
            let field = document.from.get_or_insert_with(MailboxDocument::default);
            // The name goes with its address: another sender does not get it.
            if fill(&mut field.email, &from.email) {
                fill(&mut field.name, &from.name);
                has_filled = true;
            }
        }
        has_filled
    }
}

fn fill(field: &mut Option<String>, default: &Option<String>) -> bool {
    let is_open = field.is_none() && default.is_some();
    if is_open {
        field.clone_from(default);
    }
    is_open
}

fn read(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if usize::try_from(size).is_ok_and(|size| size > BODY_MAX_BYTES) {
        bail!("{} has {size} bytes, more than a job may have ({BODY_MAX_BYTES})", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads `address` or `Name <address>`.
fn mailbox(text: &str) -> Result<MailboxDocument, String> {
    let (name, email) = match text.trim().strip_suffix('>').and_then(|it| it.rsplit_once('<')) {
        Some((name, email)) => (Some(name.trim().trim_matches('"').to_owned()), email),
        None => (None, text),
    };
    let email = Address::parse(email.trim()).map_err(|error| error.to_string())?;
    Ok(MailboxDocument::new(email.as_str(), name.filter(|name| !name.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_may_have_a_name() {
        for (text, name) in [
            ("news@acme.example", None),
            ("<news@acme.example>", None),
            ("Acme <news@acme.example>", Some("Acme")),
            ("\"Acme, Inc.\" <news@acme.example>", Some("Acme, Inc.")),
        ] {
            let found = mailbox(text).unwrap();
            assert_eq!(found.email.as_deref(), Some("news@acme.example"), "{text}");
            assert_eq!(found.name.as_deref(), name, "{text}");
        }
        assert!(mailbox("Acme news@acme.example").is_err());
    }

    #[test]
    fn what_a_line_says_wins() {
        let defaults =
            Defaults { from: Some(mailbox("Acme <a@acme.example>").unwrap()), ..Defaults::default() };
        let mut own = JobDocument {
            from: Some(MailboxDocument::new("b@acme.example", None)),
            ..JobDocument::default()
        };
        assert!(!defaults.fill(&mut own));
        assert_eq!(own.from.unwrap().name, None);
        let mut open = JobDocument::default();
        assert!(defaults.fill(&mut open));
        assert_eq!(open.from.unwrap().name.as_deref(), Some("Acme"));
    }
}
