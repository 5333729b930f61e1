//! What each column of a CSV file is in a job.

use std::collections::BTreeMap;

use sluice_types::{JobDocument, MailboxDocument};

use super::defaults::Defaults;

/// Columns without a name of their own, under every word that they may be called by.
const FIELDS: [(&str, Field); 21] = [
    ("v", Field::V),
    ("id", Field::Id),
    ("tenant", Field::Tenant),
    ("class", Field::Class),
    ("pool", Field::Pool),
    ("campaign", Field::Campaign),
    ("from.email", Field::FromEmail),
    ("from", Field::FromEmail),
    ("from.name", Field::FromName),
    ("to.email", Field::ToEmail),
    ("to", Field::ToEmail),
    ("email", Field::ToEmail),
    ("to.name", Field::ToName),
    ("name", Field::ToName),
    ("reply_to.email", Field::ReplyToEmail),
    ("reply_to", Field::ReplyToEmail),
    ("reply_to.name", Field::ReplyToName),
    ("subject", Field::Subject),
    ("html", Field::Html),
    ("text", Field::Text),
    ("unsubscribe_url", Field::UnsubscribeUrl),
];
/// Two more, apart so that the table above stays short.
const TIMES: [(&str, Field); 2] = [("send_at", Field::SendAt), ("expires_at", Field::ExpiresAt)];

/// A field of a job that a cell fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    V,
    Id,
    Tenant,
    Class,
    Pool,
    Campaign,
    FromEmail,
    FromName,
    ToEmail,
    ToName,
    ReplyToEmail,
    ReplyToName,
    Subject,
    Html,
    Text,
    UnsubscribeUrl,
    SendAt,
    ExpiresAt,
}

/// What the cells of one column are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Field(Field),
    Header(String),
    Metadata(String),
    Var(String),
}

/// The header line, understood.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    names: Vec<String>,
    has_vars: bool,
}

impl Columns {
    /// Understands a header line; `var_columns` takes unknown names as `vars`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in sentences.
    pub(super) fn read(names: &[String], var_columns: bool, defaults: &Defaults) -> Result<Self, String> {
        let (mut columns, mut faults, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let name = name.trim();
            let Some(column) = column(name, var_columns) else {
                unknown.push(format!("`{name}`"));
                continue;
            };
            if columns.contains(&column) {
                faults.push(format!("column `{name}` stands for what another column stands for too"));
            }
            columns.push(column);
        }
        if !unknown.is_empty() {
            faults.push(format!(
                "no such column: {} (write vars.NAME, headers.NAME or metadata.NAME, or take all of them as vars with --var-columns)",
                unknown.join(", ")
            ));
        }
        let has = |field| columns.contains(&Column::Field(field));
        if !has(Field::ToEmail) {
            faults.push("no column `to.email` (or `to`, or `email`)".to_owned());
        }
        if !has(Field::FromEmail) && defaults.from.is_none() {
            faults.push("no column `from.email` (or `from`), and no --from".to_owned());
        }
        if !has(Field::Subject) && defaults.subject.is_none() {
            faults.push("no column `subject`, and no --subject".to_owned());
        }
        let has_default_body = defaults.html.is_some() || defaults.text.is_some();
        if !has(Field::Html) && !has(Field::Text) && !has_default_body {
            faults.push("no column `html` or `text`, and no --html-file or --text-file".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        let has_vars = columns.iter().any(|column| matches!(column, Column::Var(_)));
        Ok(Self { columns, names: names.to_vec(), has_vars })
    }

    /// How many cells a row has.
    pub(super) const fn count(&self) -> usize {
        self.columns.len()
    }

    /// The name of a column as the file writes it.
    pub(super) fn name(&self, at: usize) -> &str {
        self.names.get(at).map_or("", |name| name.trim())
    }

    /// The document of a row.
    pub(super) fn document<'a>(&self, cells: impl Iterator<Item = &'a str>) -> JobDocument {
        let mut document = JobDocument { v: Some(1), ..JobDocument::default() };
        document.vars = self.has_vars.then(serde_json::Map::new);
        for (column, cell) in self.columns.iter().zip(cells) {
            column.put(&mut document, cell);
        }
        document
    }
}

fn column(name: &str, var_columns: bool) -> Option<Column> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, field)) = FIELDS.iter().chain(&TIMES).find(|(word, _)| *word == lower) {
        return Some(Column::Field(*field));
    }
    let named = |prefix: &str| {
        let is_such = lower.starts_with(prefix) && name.len() > prefix.len();
        is_such.then(|| name.get(prefix.len()..).unwrap_or_default().to_owned())
    };
    let prefixed = named("headers.").map(Column::Header);
    let prefixed = prefixed.or_else(|| named("metadata.").map(Column::Metadata));
    let prefixed = prefixed.or_else(|| named("vars.").map(Column::Var));
    prefixed.or_else(|| (var_columns && !name.is_empty()).then(|| Column::Var(name.to_owned())))
}

impl Column {
    fn put(&self, document: &mut JobDocument, cell: &str) {
        if let Self::Var(name) = self {
            // An empty cell too: a template that uses the name shall find it.
            let vars = document.vars.get_or_insert_default();
            vars.insert(name.clone(), serde_json::Value::String(cell.to_owned()));
            return;
        }
        if cell.trim().is_empty() {
            return;
        }
        let text = Some(cell.to_owned());
        let trimmed = Some(cell.trim().to_owned());
        let insert = |map: &mut Option<BTreeMap<String, String>>, name: &String| {
            map.get_or_insert_default().insert(name.clone(), cell.to_owned());
        };
        let mailbox = |it: &mut Option<MailboxDocument>| it.take().unwrap_or_default();
        match self {
            Self::Var(_) => {}
            Self::Header(name) => insert(&mut document.headers, name),
            Self::Metadata(name) => insert(&mut document.metadata, name),
            Self::Field(field) => match field {
                // What is no number is no known version either.
                Field::V => document.v = Some(cell.trim().parse().unwrap_or(0)),
                Field::Id => document.id = trimmed,
                Field::Tenant => document.tenant = trimmed,
                Field::Class => document.class = trimmed,
                Field::Pool => document.pool = trimmed,
                Field::Campaign => document.campaign = trimmed,
                Field::FromEmail => {
                    document.from = Some(MailboxDocument { email: trimmed, ..mailbox(&mut document.from) });
                }
                Field::FromName => {
                    document.from = Some(MailboxDocument { name: text, ..mailbox(&mut document.from) });
                }
                Field::ToEmail => {
                    document.to = Some(MailboxDocument { email: trimmed, ..mailbox(&mut document.to) });
                }
                Field::ToName => {
                    document.to = Some(MailboxDocument { name: text, ..mailbox(&mut document.to) });
                }
                Field::ReplyToEmail => {
                    document.reply_to =
                        Some(MailboxDocument { email: trimmed, ..mailbox(&mut document.reply_to) });
                }
                Field::ReplyToName => {
                    document.reply_to =
                        Some(MailboxDocument { name: text, ..mailbox(&mut document.reply_to) });
                }
                Field::Subject => document.subject = text,
                Field::Html => document.html = text,
                Field::Text => document.text = text,
                Field::UnsubscribeUrl => document.unsubscribe_url = trimmed,
                Field::SendAt => document.send_at = trimmed,
                Field::ExpiresAt => document.expires_at = trimmed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str, var_columns: bool) -> Result<Columns, String> {
        let names: Vec<String> = header.split(',').map(str::to_owned).collect();
        Columns::read(&names, var_columns, &Defaults::default())
    }

    #[test]
    fn cells_become_fields_and_empty_ones_are_no_value() {
        let columns = read("Email,name,from,subject,text,campaign,vars.first,headers.X-A", false).unwrap();
        let cells = [" ada@gmail.com ", "Ada", "a@acme.example", "Hi", "Hello", "", "", "1"];
        let document = columns.document(cells.into_iter());
        let to = document.to.unwrap();
        assert_eq!((to.email.as_deref(), to.name.as_deref()), (Some("ada@gmail.com"), Some("Ada")));
        assert_eq!(document.campaign, None);
        assert_eq!(document.vars.unwrap().get("first").unwrap(), "");
        assert_eq!(document.headers.unwrap().get("X-A").unwrap(), "1");
    }

    #[test]
    fn everything_that_is_wrong_with_a_header_is_told() {
        let error = read("emial,sujet,from", false).unwrap_err();
        for part in ["`emial`, `sujet`", "`to.email`", "--subject", "--text-file"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("--from"), "{error}");
        assert!(read("email,to,from,subject,text", false).unwrap_err().contains("`to` stands for"));
    }

    #[test]
    fn unknown_columns_become_vars_when_told_so() {
        let columns = read("email,from,subject,text,City", true).unwrap();
        let document = columns.document(["a@b.cc", "c@d.ee", "s", "t", "Ulm"].into_iter());
        assert_eq!(document.vars.unwrap().get("City").unwrap(), "Ulm");
    }
}
