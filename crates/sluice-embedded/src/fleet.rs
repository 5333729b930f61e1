//! The fleet's document: one row, which the worker and people's commands change in turn.
//!
//! The policy decides what becomes of it; this file loads and keeps it. The worker exchanges twice a second, so what it
//! says again and again (that it is still here) is kept in memory beside the row and written now and then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use sluice_engine::{Fleet, FleetError};
use sluice_policy::{Edit, FleetState, Report, View};

use crate::slots::{keep_clock, slot_now};
use crate::{Embedded, StoreError};

/// How often news are written that every exchange brings, in nanoseconds. Longer: people's commands see older ones;
/// shorter: a worker that has nothing to do writes more.
const WRITE_EVERY_NS: i64 = 10 * 1_000_000_000;
/// What an exchange says anew each time, as paths in the document; `*` is any name. None of it matters to the only worker
/// after a crash. When the policy renames one of these, more is written than need be.
const RENEWED: [&[&str]; 4] = [
    &["replicas", "*", "seen_ns"],
    &["replicas", "*", "presence"],
    &["connections", "*", "*", "expires_ns"],
    &["pace", "*", "asked_ns"],
];

#[async_trait]
impl Fleet for Embedded {
    async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
        if report.presence.is_some() {
            self.worker_shared()?;
        }
        let report = report.clone();
        let view = self.change(move |state, now_ns| state.exchange(now_ns, &report)).await?;
        Ok(self.at_wall_time(view))
    }

    async fn edit(&self, edit: Edit) -> Result<(), FleetError> {
        Ok(self.change(move |state, now_ns| state.edit(now_ns, edit)).await?)
    }

    async fn look(&self) -> Result<View, FleetError> {
        let shared = self.shared().clone();
        let ask = move |connection: &Connection| {
            let text = read(connection)?;
            let now_ns = slot_now(connection, &shared)?.as_micros().saturating_mul(1000);
            let book = shared.fleet.lock();
            let state = match book.as_ref().filter(|kept| kept.text == text) {
                Some(kept) => Ok(kept.state.clone()),
                None => parse(text.as_deref()),
            };
            Ok(state.map(|state| state.look(now_ns)).map_err(StoreError::FleetDocument))
        };
        let view = self.shared().questions.ask(ask).await??;
        Ok(self.at_wall_time(view))
    }
}

impl Embedded {
    /// A view with the time of the wall clock, by which jobs are due and expire. The slot clock stays ahead for good where the
    /// wall clock has been wrong for a moment.
    fn at_wall_time(&self, view: View) -> View {
        View { now_ns: self.shared().clock.now().as_micros().saturating_mul(1000), ..view }
    }

    /// Changes the document behind the write lock, on the slot clock.
    async fn change<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut FleetState, i64) -> T + Send + 'static,
    {
        let shared = self.shared().clone();
        let work = move |connection: &Connection| {
            let now = slot_now(connection, &shared)?;
            let now_ns = now.as_micros().saturating_mul(1000);
            let mut book = shared.fleet.lock();
            // Taken out, so that nothing half done stays when this fails.
            let mut kept = match Kept::load(book.take(), read(connection)?) {
                Ok(kept) => kept,
                Err(error) => return Ok(Err(StoreError::FleetDocument(error))),
            };
            let answer = change(&mut kept.state, now_ns);
            match kept.news(now_ns) {
                Ok(None) => {}
                Ok(Some(document)) => {
                    let text = document.to_string();
                    write(connection, &text)?;
                    (kept.text, kept.written, kept.written_ns) = (Some(text), document, now_ns);
                    // A client's clock is not the slots' clock.
                    if shared.worker.is_some() {
                        keep_clock(connection, now)?;
                    }
                }
                Err(error) => return Ok(Err(StoreError::FleetDocument(error))),
            }
            *book = Some(kept);
            Ok(Ok(answer))
        };
        self.shared().writer.write(1, work).await?
    }
}

/// The document as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct FleetBook {
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    /// The row that `state` continues, if there is one. When another is found, it is the truth: somebody else wrote it,
    /// or our own transaction failed.
    text: Option<String>,
    state: FleetState,
    /// The row as a value.
    written: Value,
    written_ns: i64,
}

impl FleetBook {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What is known already, when it belongs to the row that was found; else what the row says.
    fn load(known: Option<Self>, text: Option<String>) -> Result<Self, serde_json::Error> {
        if let Some(known) = known.filter(|known| known.text == text) {
            return Ok(known);
        }
        let state = parse(text.as_deref())?;
        let written = serde_json::to_value(&state)?;
        Ok(Self { text, state, written, written_ns: i64::MIN })
    }

    /// The document, when it is to be written now.
    fn news(&self, now_ns: i64) -> Result<Option<Value>, serde_json::Error> {
        let document = serde_json::to_value(&self.state)?;
        if document == self.written {
            return Ok(None);
        }
        let is_soon = now_ns.saturating_sub(self.written_ns) < WRITE_EVERY_NS;
        if is_soon && without_renewed(&document) == without_renewed(&self.written) {
            return Ok(None);
        }
        // Nothing is written that could not be read again.
        serde_json::from_value::<FleetState>(document.clone())?;
        Ok(Some(document))
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("select state from fleet where id = 1")?
        .query_row([], |row| row.get(0))
        .optional()
}

fn parse(text: Option<&str>) -> Result<FleetState, serde_json::Error> {
    text.map_or_else(|| Ok(FleetState::default()), serde_json::from_str)
}

fn write(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into fleet (id, state) values (1, ?1) on conflict (id) do update set state = excluded.state",
        )?
        .execute([text])?;
    Ok(())
}

fn without_renewed(document: &Value) -> Value {
    let mut document = document.clone();
    RENEWED.iter().for_each(|path| remove(&mut document, path));
    document
}

fn remove(value: &mut Value, path: &[&str]) {
    let Value::Object(members) = value else { return };
    match path {
        [] => {}
        [last] => drop(members.remove(*last)),
        ["*", rest @ ..] => members.values_mut().for_each(|member| remove(member, rest)),
        [first, rest @ ..] => {
            if let Some(member) = members.get_mut(*first) {
                remove(member, rest);
            }
        }
    }
}
