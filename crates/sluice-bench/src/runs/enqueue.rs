//! A CSV file, queued by `sluice enqueue`: how fast, and in how much memory.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use sluice_testkit::services::sluice_binary;

use super::Scale;
use super::programs::Workers;
use super::timing::timed;
use super::workers::committed;
use crate::job;
use crate::journal::Journal;
use crate::ledger;
use crate::process;
use crate::run::{Figure, Run};
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Scene, Stage};

/// How often the memory is looked at: the system keeps the peak, but only as long as the program lives.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) fn run(stage: &Stage, lines: usize, scale: &Scale) -> anyhow::Result<Run> {
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(lines));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Off);
    scene.prepare(&site.toml())?;
    // A disk, where /tmp may be memory.
    let folder = tempfile::Builder::new().prefix("sluice-bench-").tempdir_in("/var/tmp")?;
    std::fs::write(folder.path().join("sluice.toml"), site.toml())?;
    write_file(folder.path(), lines)?;
    let (mut run, told) = enqueue(folder.path(), lines)?;
    run.faults.extend(report_faults(&told, "queued", lines));
    run.faults.extend(scene.depth_faults(lines));
    // Sending a long file as well would say nothing that a short one does not.
    if run.faults.is_empty() && lines <= scale.jobs {
        run.faults.extend(sent_faults(&scene, &site, &journal, lines)?);
        let (_, told) = enqueue(folder.path(), lines)?;
        run.faults.extend(report_faults(&told, "duplicate", lines));
        run.faults.extend(scene.queue_faults());
    }
    Ok(run)
}

/// People, and what they are told: jobs of about 1.5 KB, as everywhere.
fn write_file(folder: &Path, lines: usize) -> anyhow::Result<()> {
    let mut people = BufWriter::new(std::fs::File::create(folder.join("people.csv"))?);
    writeln!(people, "id,email,name,first_name,metadata.order")?;
    for number in 0..lines {
        writeln!(people, "{},u{number}@{ONE_DOMAIN},\"Lovelace, Ada\",Ada,17", job::id(number))?;
    }
    people.flush().context("cannot write the people")?;
    let paragraph = job::PARAGRAPH;
    let html = format!("<p>Hello {{{{ first_name }}}}</p>{}", format!("<p>{paragraph}</p>").repeat(4));
    std::fs::write(folder.join("hello.html"), html)?;
    std::fs::write(folder.join("hello.txt"), format!("Hello {{{{ first_name }}}}, {paragraph}"))?;
    Ok(())
}

/// Runs the command; answers how long it took in how much memory, and what it told.
fn enqueue(folder: &Path, lines: usize) -> anyhow::Result<(Run, Value)> {
    let mut command = Command::new(sluice_binary());
    command.args(["--config", "sluice.toml", "enqueue", "people.csv", "--format", "json"]);
    command.args(["--from", "Acme <news@acme.example>", "--subject", "Hello {{ first_name }}"]);
    command.args(["--html-file", "hello.html", "--text-file", "hello.txt", "--class", "bulk"]);
    command.args(["--tenant", "acme", "--campaign", "spring-sale", "--var-columns"]);
    let begin = Instant::now();
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(folder.join("report.json"))?)
        .stderr(std::fs::File::create(folder.join("log"))?)
        .spawn()
        .context("cannot run sluice enqueue")?;
    let used = watch(&mut child)?;
    let seconds = begin.elapsed().as_secs_f64();
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    ensure!(used.is_success, "sluice enqueue has failed:\n{}{}", read("report.json"), read("log"));
    let mut run = Run::new(lines, seconds);
    run.set(Figure::CpuPerThousand, used.cpu.as_secs_f64() * 1_000.0 / lines as f64);
    run.set(Figure::PeakRssMib, used.peak_rss_mib);
    Ok((run, serde_json::from_str(&read("report.json")).context("the report is not JSON")?))
}

struct Used {
    peak_rss_mib: f64,
    cpu: Duration,
    is_success: bool,
}

/// Looks on until it ends. What it used after the last look is missing.
fn watch(child: &mut Child) -> anyhow::Result<Used> {
    let (mut peak_rss_mib, mut cpu) = (0.0, Duration::ZERO);
    loop {
        if let Ok(mib) = process::peak_rss_mib(child.id()) {
            peak_rss_mib = mib;
        }
        if let Ok(now) = process::cpu(child.id()) {
            cpu = now;
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Used { peak_rss_mib, cpu, is_success: status.success() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Every line is counted under this word and under no other.
fn report_faults(told: &Value, word: &str, lines: usize) -> Option<String> {
    let wanted = |field: &str| if field == word || field == "lines" { lines } else { 0 };
    let fields = ["lines", "queued", "duplicate", "errors", "unavailable"];
    let is_right = |field: &&str| told.get(field).and_then(Value::as_u64) == Some(wanted(field) as u64);
    (!fields.iter().all(is_right)).then(|| format!("not {lines} lines {word}: {told}"))
}

fn sent_faults(
    scene: &Scene<'_>,
    site: &Site,
    journal: &Journal,
    lines: usize,
) -> anyhow::Result<Vec<String>> {
    let mut workers = Workers::start(&site.toml(), 1);
    let mut faults = timed(scene, &mut workers, journal, lines, &committed())?.faults;
    // In order: acks may be held for a moment after all is recorded.
    faults.extend(workers.end());
    faults.extend(journal.faults(0..lines));
    faults.extend(scene.stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, lines))?);
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_to_be_counted_where_it_belongs() {
        let told = |queued, errors| serde_json::json!({"lines": 3, "queued": queued, "duplicate": 0, "errors": errors, "unavailable": 0});
        assert_eq!(report_faults(&told(3, 0), "queued", 3), None);
        assert!(report_faults(&told(2, 1), "queued", 3).is_some());
        assert!(report_faults(&told(3, 0), "duplicate", 3).is_some());
        assert!(report_faults(&Value::Null, "queued", 3).is_some());
    }
}
