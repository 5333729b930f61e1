//! What an ESP reports of jobs that were sent: signed calls over HTTP, each answered when its events are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use serde_json::{Value, json};

use super::Scale;
use super::programs::{Programs, Workers};
use super::timing::timed;
use super::workers::committed;
use crate::job::{self, Address, message};
use crate::journal::Journal;
use crate::process;
use crate::run::{Figure, Run};
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Scene, Stage};
use crate::webhook_sender::{Line, Signer};

/// Events of one call: what an ESP gathers in a second of some thousand messages.
const CALL_EVENTS: usize = 500;
/// Calls at the same time.
const LINES: usize = 4;
const PATH: &str = "/webhooks/reporting";

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let jobs = scale.jobs;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(jobs));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let signer = Signer::new()?;
    // Events name their job, so that it does not matter which account is told of them.
    let more = format!(
        "[[esp]]\nname = \"reporting\"\nkind = \"sendgrid\"\nbase_url = \"http://{}\"\napi_key = \"bench\"\n\
         webhook_public_key = \"{}\"\n",
        esp.addr(),
        signer.public_key()
    );
    let site = Site { more, ..Site::new(scene.store(), vec![esp.addr()], Limits::Off) };
    scene.prepare(&site.toml())?;
    let address = Address::bulk(ONE_DOMAIN);
    scene.publish((0..jobs).map(|number| message(number, &address)))?;
    let mut workers = Workers::start(&site.toml(), 1);
    let sent = timed(&scene, &mut workers, &journal, jobs, &committed())?;
    if !sent.faults.is_empty() {
        return Ok(sent);
    }
    let calls = calls(&signer, jobs)?;
    let (pids, to) = (workers.pids(), workers.0.first().context("there is one")?.http_addr());
    let before = process::cpu_of(&pids)?;
    let (seconds, answers) = post(to, &calls)?;
    let cpu = process::cpu_of(&pids)?.saturating_sub(before);
    let mut run = Run::new(jobs, seconds);
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / jobs as f64);
    workers.enter(&mut run)?;
    // Batch sizes are those of the sends before.
    run.figures.retain(|figure, _| !matches!(figure, Figure::ClaimRows | Figure::RecordRows));
    run.faults.extend(answer_faults("first", &answers, (jobs, 0)));
    run.faults.extend(state_faults(&scene, jobs)?);
    // An ESP repeats itself: nothing changes.
    let (_, again) = post(to, &calls)?;
    run.faults.extend(answer_faults("repeated", &again, (0, jobs)));
    run.faults.extend(forged_faults(&signer, to)?);
    run.faults.extend(state_faults(&scene, jobs)?);
    run.faults.extend(journal.faults(0..jobs));
    run.faults.extend(scene.queue_faults());
    workers.check()?;
    Ok(run)
}

/// Each job was delivered; signed beforehand, as that is the ESP's work.
fn calls(signer: &Signer, jobs: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    let numbers: Vec<usize> = (0..jobs).collect();
    let call = |numbers: &[usize]| {
        let events: Vec<Value> = numbers.iter().map(|number| event(*number, "delivered", now)).collect();
        signer.request(PATH, &format!("{}\r\n", Value::from(events)))
    };
    numbers.chunks(CALL_EVENTS).map(call).collect()
}

/// As SendGrid writes it.
fn event(number: usize, kind: &str, at: u64) -> Value {
    let job = job::id(number);
    json!({
        "email": format!("u{number}@{ONE_DOMAIN}"), "timestamp": at, "event": kind,
        "sg_event_id": format!("{job}-{kind}"), "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "sg_message_id": "stand-in.filter0001.16648.5515E0B88.0", "response": "250 OK",
        "job_id": job, "tenant": "acme", "attempt": "1"
    })
}

/// Posts all of them over [`LINES`] connections; answers how long that took, and what the worker said.
fn post(to: std::net::SocketAddr, calls: &[Vec<u8>]) -> anyhow::Result<(f64, Vec<(u16, Value)>)> {
    let mut lines = (0..LINES).map(|_| Line::connect(to)).collect::<anyhow::Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let answers = std::thread::scope(|threads| {
        let posting = lines.iter_mut().map(|line| {
            threads.spawn(|| {
                let mut answers = Vec::new();
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    answers.push(line.call(call)?);
                }
                anyhow::Ok(answers)
            })
        });
        let posting: Vec<_> = posting.collect();
        let ended = posting.into_iter().map(|it| it.join().map_err(|_| anyhow!("a thread has failed"))?);
        ended.collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok((begin.elapsed().as_secs_f64(), answers.into_iter().flatten().collect()))
}

/// All calls were taken, with so many new events and so many known ones in all.
fn answer_faults(which: &str, answers: &[(u16, Value)], wanted: (usize, usize)) -> Option<String> {
    let refused = answers.iter().filter(|(status, _)| *status != 200).count();
    let sum = |field: &str| -> u64 {
        answers.iter().filter_map(|(_, body)| body.get(field).and_then(Value::as_u64)).sum()
    };
    let found = (sum("taken"), sum("duplicates"), sum("foreign") + sum("unreadable"));
    let wanted = (wanted.0 as u64, wanted.1 as u64, 0);
    (refused > 0 || found != wanted)
        .then(|| format!("{which} calls: {refused} refused; new, known, left out: {found:?}, not {wanted:?}"))
}

/// Each job is delivered and has its one event.
fn state_faults(scene: &Scene<'_>, jobs: usize) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (what, wanted, query) in [
        ("delivered jobs", jobs, "SELECT count(*) FROM sluice.job WHERE state = 'delivered'"),
        ("jobs", jobs, "SELECT count(*) FROM sluice.job"),
        (
            "events that were applied",
            jobs,
            "SELECT count(DISTINCT job_id) FROM sluice.event WHERE applied_at IS NOT NULL",
        ),
        ("events", jobs, "SELECT count(*) FROM sluice.event"),
        ("suppressions", 0, "SELECT count(*) FROM sluice.suppression"),
    ] {
        let found = scene.count(query)?;
        if found != wanted {
            faults.push(format!("{found} {what}, not {wanted}"));
        }
    }
    Ok(faults)
}

/// A call whose body is not what was signed moves nothing: the state is looked at afterwards.
fn forged_faults(signer: &Signer, to: std::net::SocketAddr) -> anyhow::Result<Option<String>> {
    let body = format!("{}\r\n", Value::from(vec![event(0, "bounced", 1)]));
    let request = String::from_utf8(signer.request(PATH, &body)?)?;
    let forged = request.replace("\"bounced\"", "\"dropped\"").replace("-bounced\"", "-dropped\"");
    ensure!(forged.len() == request.len() && forged != request, "another body of the same length");
    let (status, _) = Line::connect(to)?.call(forged.as_bytes())?;
    Ok((status != 403).then(|| format!("a forged call was answered with {status}, not 403")))
}
