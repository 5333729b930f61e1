//! `sluice dead list` and `show`.

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sluice_engine::DeadLetterView;

use super::reason;
use crate::output::{self, Format, FormatArg, Table, note, plain};
use crate::wiring::Outside;

/// `sluice dead list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those refused for this reason
    #[arg(long, value_parser = reason(), hide_possible_values = true)]
    reason: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u32,
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice dead show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Its number, as `sluice dead list` says
    id: i64,
    /// Write the body alone, byte for byte
    #[arg(long, conflicts_with = "format")]
    body: bool,
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: &'a DeadLetterView,
    /// The body as text, if it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// The body in base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

pub(super) async fn list(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let letters = outside.console.dead_list(args.reason.as_deref(), args.max).await;
    let letters = letters.context("cannot ask the store")?;
    if args.format.format == Format::Json {
        output::json(&letters)?;
        return Ok(true);
    }
    if letters.is_empty() {
        note("no dead letters");
        return Ok(true);
    }
    let mut table = Table::new(["id", "received", "reason", "field", "job", "lane", "bytes", "detail"]);
    for it in &letters {
        table.row([
            it.id.to_string(),
            it.received_at.clone(),
            it.reason.clone(),
            dash(&it.field),
            dash(it.job_id.as_deref().unwrap_or_default()),
            it.lane.clone(),
            it.body_bytes.to_string(),
            it.detail.clone(),
        ]);
    }
    table.print()?;
    if u32::try_from(letters.len()).is_ok_and(|shown| shown == args.max) {
        note(format_args!("the newest {} are shown; there may be more, see --max", args.max));
    }
    Ok(true)
}

pub(super) async fn show(outside: &Outside, args: &ShowArgs) -> anyhow::Result<bool> {
    let found = outside.console.dead_show(args.id).await.context("cannot ask the store")?;
    let Some((view, body)) = found else {
        note(format_args!("there is no dead letter {}", args.id));
        return Ok(false);
    };
    if args.body {
        output::raw(&body)?;
        return Ok(true);
    }
    let text = std::str::from_utf8(&body).ok();
    if args.format.format == Format::Json {
        let body_base64 = text.is_none().then(|| BASE64_STANDARD.encode(&body));
        output::json(&Shown { view: &view, body: text, body_base64 })?;
        return Ok(true);
    }
    let mut facts = Table::of_facts();
    facts.fact("dead letter", Some(view.id));
    facts.fact("reason", Some(&view.reason));
    facts.fact("field", Some(&view.field).filter(|field| !field.is_empty()));
    facts.fact("detail", Some(&view.detail));
    facts.fact("job", view.job_id.as_ref());
    facts.fact("lane", Some(&view.lane));
    facts.fact("received", Some(&view.received_at));
    facts.fact("bytes", Some(view.body_bytes));
    output::raw(format!("{facts}\n{}\n", readable(&body)).as_bytes())?;
    Ok(true)
}

/// The body as indented JSON where it is JSON, else as text that cannot steer the terminal.
fn readable(body: &[u8]) -> String {
    let pretty = serde_json::from_slice::<serde_json::Value>(body).ok();
    let pretty = pretty.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let text = pretty.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
