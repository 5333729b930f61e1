//! Cases of `Unknowns` and `Events`: jobs in doubt, and what settles them.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{
    Claim, ClaimVerdict, Console, Due, EspEvent, Events, Intent, JobView, Landed, Ledger, NextStep, Record,
    RecordVerdict, ResendVerdict, SettleAs, SettleVerdict, Suppress, SuppressReason, UnknownQuery, Unknowns,
};
use sluice_types::{
    Address, Category, Class, EspId, EventKind, JobId, JobState, Outcome, Tenant, Timestamp, WaitReason,
};

use super::jobs::{accepted, claim, deferred, fresh_id, parked, record, send_for};
use super::store::up_to;

/// A fresh store under test. The handles share one worker.
#[derive(Debug)]
pub struct Desk {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Its console.
    pub console: Arc<dyn Console>,
    /// Decisions about jobs in doubt.
    pub unknowns: Arc<dyn Unknowns>,
    /// Where events land.
    pub events: Arc<dyn Events>,
    /// Whatever must live as long as the store.
    pub keep: Box<dyn std::fmt::Debug + Send + Sync>,
}

/// A sweep may have to wait for an event whose first pause is a second.
const SWEEP_WAIT: Duration = Duration::from_secs(60);

impl Desk {
    async fn claimed(&self, id: &JobId) {
        assert_eq!(self.ledger.claim(&[claim(id)]).await.unwrap()[0], ClaimVerdict::Go);
    }

    /// A job whose only attempt has an unknown outcome, and whose body is held.
    async fn unknown(&self, id: &JobId) {
        self.claimed(id).await;
        assert_eq!(self.record_one(lost(id, Due::Held)).await, RecordVerdict::Recorded);
    }

    async fn record_one(&self, record: Record) -> RecordVerdict {
        self.ledger.record(&[record]).await.unwrap()[0]
    }

    async fn job(&self, id: &JobId) -> JobView {
        self.console.job(id).await.unwrap().unwrap()
    }

    async fn land(&self, events: &[EspEvent]) -> Landed {
        self.events.land(&esp(), events).await.unwrap()
    }

    /// Sweeps until the job is in `state`.
    async fn swept_into(&self, id: &JobId, state: &str) {
        let sweep = async {
            while self.job(id).await.state != state {
                self.events.apply_due(100).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SWEEP_WAIT, sweep).await.unwrap_or_else(|_| panic!("not swept into {state}"));
    }

    async fn listed(&self, query: UnknownQuery) -> Vec<String> {
        self.unknowns.unknown_list(&query).await.unwrap().into_iter().map(|it| it.id).collect()
    }
}

fn esp() -> EspId {
    "main".parse().unwrap()
}

/// The record of a call whose answer was lost.
fn lost(id: &JobId, due: Due) -> Record {
    let mut copy = parked(id, due, WaitReason::Unknown, 2);
    copy.passport.resend = true;
    let outcome = Outcome::Unknown { detail: "no answer in time".to_owned() };
    record(id, 1, Some(outcome), NextStep::Unknown(Box::new(copy)))
}

/// An event of the first attempt.
fn event(id: &JobId, kind: EventKind, event_id: &str) -> EspEvent {
    EspEvent {
        job: id.clone(),
        tenant: Some(Tenant::default()),
        attempt: Some(1),
        kind,
        event_id: format!("{id}/{event_id}"),
        provider_message_id: Some("from-event".to_owned()),
        occurred_at: Timestamp::parse("2026-11-24T12:00:05Z").unwrap(),
        category: None,
        detail: None,
        suppress: None,
    }
}

fn all() -> UnknownQuery {
    UnknownQuery { max: 100, ..UnknownQuery::default() }
}

/// Every field of the list, the longest in doubt first, and page by page.
pub async fn jobs_in_doubt_are_listed(desk: Desk) {
    let ids: Vec<JobId> = (0..3).map(|n| fresh_id(&format!("job{n}"))).collect();
    for id in &ids {
        desk.unknown(id).await;
    }
    let sent = fresh_id("sent");
    desk.claimed(&sent).await;
    desk.record_one(accepted(&sent, 1)).await;
    let views = desk.unknowns.unknown_list(&all()).await.unwrap();
    let names: Vec<&str> = views.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(names, ids.iter().map(JobId::as_str).collect::<Vec<_>>());
    let first = &views[0];
    assert_eq!((first.tenant.as_str(), first.class.as_str(), first.attempt), ("default", "bulk", 1));
    assert_eq!((first.esp.as_deref(), first.category.as_deref()), (Some("main"), Some("answer_lost")));
    assert!(first.has_body && first.resend_at.is_none(), "{first:?}");
    let after = Some((first.since.clone(), first.id.clone()));
    let rest = desk.listed(UnknownQuery { after, max: 1, ..all() }).await;
    assert_eq!(rest, [ids[1].as_str()]);
}

/// Each filter keeps what it names.
pub async fn jobs_in_doubt_are_narrowed_down(desk: Desk) {
    let id = fresh_id("job");
    desk.unknown(&id).await;
    let tenant = |name: &str| Some(name.parse().unwrap());
    for (query, count) in [
        (UnknownQuery { tenant: tenant("default"), ..all() }, 1),
        (UnknownQuery { tenant: tenant("acme"), ..all() }, 0),
        (UnknownQuery { class: Some(Class::Bulk), ..all() }, 1),
        (UnknownQuery { class: Some(Class::Transactional), ..all() }, 0),
        (UnknownQuery { esp: Some("main".to_owned()), ..all() }, 1),
        (UnknownQuery { esp: Some("o'ther\u{0}".to_owned()), ..all() }, 0),
    ] {
        assert_eq!(desk.listed(query.clone()).await.len(), count, "{query:?}");
    }
}

/// It is due at once, goes out under its next number, is marked, and the order is kept with its author.
pub async fn a_resend_is_due_and_recorded(desk: Desk) {
    let id = fresh_id("job");
    desk.unknown(&id).await;
    let missing = fresh_id("missing");
    let verdicts = desk
        .unknowns
        .unknown_resend(&[missing, id.clone()], "cli:ada", Some("checked\u{0} it"))
        .await
        .unwrap();
    assert_eq!(verdicts, [ResendVerdict::Missing, ResendVerdict::Queued]);
    let batch = desk.ledger.due(&up_to(10)).await.unwrap().expect("it is due");
    let job = &batch.jobs()[0];
    assert_eq!((&job.id, job.passport.attempt, job.passport.resend), (&id, 2, true));
    batch.published(std::slice::from_ref(&id)).await.unwrap();
    let again = sluice_engine::Claim { attempt: 2, resend: true, ..claim(&id) };
    assert_eq!(desk.ledger.claim(&[again]).await.unwrap()[0], ClaimVerdict::Go);
    desk.record_one(accepted(&id, 2)).await;
    let job = desk.job(&id).await;
    assert_eq!((job.state.as_str(), job.attempts), ("accepted", 2));
    let resolution = &job.resolutions[0];
    assert_eq!((resolution.verdict.as_str(), resolution.by.as_str()), ("resend", "cli:ada"));
    assert_eq!((resolution.attempt, resolution.before.as_str()), (1, "unknown"));
    assert!(resolution.note.as_deref().is_some_and(|note| note.starts_with("checked")), "{resolution:?}");
}

/// A job that is not in doubt, and one whose body is gone, are told so, and nothing is recorded.
pub async fn a_resend_that_cannot_be_is_told_so(desk: Desk) {
    let (sent, bare) = (fresh_id("sent"), fresh_id("bare"));
    desk.claimed(&sent).await;
    desk.record_one(accepted(&sent, 1)).await;
    // A claim that has lapsed leaves the job unknown before its body is parked.
    let mut short = claim(&bare);
    short.intent = send_for(Duration::from_millis(1));
    desk.ledger.claim(&[short]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(desk.ledger.claim(&[claim(&bare)]).await.unwrap()[0], ClaimVerdict::Lost { attempt: 1 });
    let verdicts = desk.unknowns.unknown_resend(&[sent.clone(), bare.clone()], "cli", None).await.unwrap();
    assert_eq!(verdicts, [ResendVerdict::NotUnknown(JobState::Accepted), ResendVerdict::NoBody]);
    assert!(!desk.unknowns.unknown_list(&all()).await.unwrap()[0].has_body);
    assert!(desk.job(&sent).await.resolutions.is_empty() && desk.job(&bare).await.resolutions.is_empty());
}

/// The state, the author and the note are kept; the parked body goes, and a second decision changes nothing.
pub async fn a_settled_job_is_closed(desk: Desk) {
    for (settle_as, state) in [(SettleAs::Accepted, "accepted"), (SettleAs::Rejected, "rejected")] {
        let id = fresh_id("job");
        desk.unknown(&id).await;
        let ids = [id.clone(), fresh_id("missing")];
        let verdicts =
            desk.unknowns.unknown_settle(&ids, settle_as, "cli:ada", Some("asked them")).await.unwrap();
        assert_eq!(verdicts, [SettleVerdict::Settled, SettleVerdict::Missing]);
        let job = desk.job(&id).await;
        assert_eq!(job.state, state);
        assert!(job.pending.is_none(), "{job:?}");
        let it = &job.resolutions[0];
        assert_eq!(
            (it.verdict.as_str(), it.by.as_str(), it.note.as_deref()),
            (state, "cli:ada", Some("asked them"))
        );
        let again = desk.unknowns.unknown_settle(&ids[..1], settle_as, "cli:bob", None).await.unwrap();
        assert_eq!(again, [SettleVerdict::NotUnknown(settle_as.state())]);
        assert_eq!(desk.job(&id).await.resolutions.len(), 1);
        let late = sluice_engine::Claim { attempt: 2, resend: true, ..claim(&id) };
        assert_eq!(desk.ledger.claim(&[late]).await.unwrap()[0], ClaimVerdict::Done);
    }
}

/// The event names the job: it was sent. Its parked copy goes, and who has settled it is kept.
pub async fn an_event_settles_a_job_in_doubt(desk: Desk) {
    let id = fresh_id("job");
    desk.unknown(&id).await;
    let landed = desk.land(&[event(&id, EventKind::Processed, "1")]).await;
    assert_eq!((landed.fresh, landed.duplicates, landed.moved.len()), (1, 0, 1));
    let moved = &landed.moved[0];
    assert_eq!((&moved.job, &moved.esp, moved.domain.as_str()), (&id, &esp(), "gmail.com"));
    assert_eq!((moved.before, moved.after), (JobState::Unknown, JobState::Accepted));
    let job = desk.job(&id).await;
    assert_eq!((job.state.as_str(), job.provider_message_id.as_deref()), ("accepted", Some("from-event")));
    assert!(job.pending.is_none() && job.category.is_none(), "{job:?}");
    let it = &job.resolutions[0];
    assert_eq!(
        (it.before.as_str(), it.verdict.as_str(), it.by.as_str()),
        ("unknown", "accepted", "webhook:main")
    );
    assert!(desk.listed(all()).await.is_empty());
    desk.land(&[event(&id, EventKind::Delivered, "2")]).await;
    let job = desk.job(&id).await;
    assert_eq!((job.state.as_str(), job.resolutions.len(), job.events.len()), ("delivered", 1, 2));
}

/// What the ESP has taken is not sent again, though its answer sounded otherwise.
pub async fn an_event_stops_a_retry(desk: Desk) {
    let id = fresh_id("job");
    desk.claimed(&id).await;
    desk.record_one(deferred(&id, 1, Due::In(Duration::from_secs(600)))).await;
    desk.land(&[event(&id, EventKind::Delivered, "1")]).await;
    let job = desk.job(&id).await;
    assert_eq!((job.state.as_str(), job.pending.is_none()), ("delivered", true));
    assert_eq!(job.resolutions[0].before, "deferred");
    let retry = sluice_engine::Claim { attempt: 2, ..claim(&id) };
    assert_eq!(desk.ledger.claim(&[retry]).await.unwrap()[0], ClaimVerdict::Done);
}

/// An event moves a job forward only, in whatever order they come, in one call or several.
pub async fn a_late_event_undoes_nothing(desk: Desk) {
    use EventKind::{Bounced, Complained, Delivered, Dropped, Opened, Processed};
    for (kinds, state) in [
        (&[Processed][..], "accepted"),
        (&[Delivered, Processed], "delivered"),
        (&[Processed, Opened], "delivered"),
        (&[Delivered, Bounced], "bounced"),
        (&[Bounced, Delivered], "bounced"),
        (&[Dropped], "bounced"),
        (&[Complained, Delivered, Bounced], "complained"),
    ] {
        let (one_call, each) = (fresh_id("one"), fresh_id("each"));
        for id in [&one_call, &each] {
            desk.claimed(id).await;
            desk.record_one(accepted(id, 1)).await;
        }
        let events = |id: &JobId| -> Vec<EspEvent> {
            kinds.iter().enumerate().map(|(at, kind)| event(id, *kind, &at.to_string())).collect()
        };
        desk.land(&events(&one_call)).await;
        for one in events(&each) {
            desk.land(&[one]).await;
        }
        for id in [&one_call, &each] {
            let job = desk.job(id).await;
            assert_eq!(job.state, state, "{kinds:?}");
            assert_eq!(job.provider_message_id.as_deref(), Some("abc"), "the send's own answer stands");
            assert!(job.events.iter().all(|it| it.applied), "{job:?}");
            assert!(job.resolutions.is_empty(), "an accepted job was never in doubt");
        }
    }
}

/// ESPs repeat themselves, within one call too.
pub async fn a_repeated_event_counts_once(desk: Desk) {
    let id = fresh_id("job");
    desk.unknown(&id).await;
    let one = event(&id, EventKind::Delivered, "1");
    let landed = desk.land(&[one.clone(), one.clone()]).await;
    assert_eq!((landed.fresh, landed.duplicates, landed.moved.len()), (1, 1, 1));
    let landed = desk.land(&[one]).await;
    assert_eq!((landed.fresh, landed.duplicates, landed.moved.len()), (0, 1, 0));
    let other: EspId = "other".parse().unwrap();
    let landed = desk.events.land(&other, &[event(&id, EventKind::Delivered, "1")]).await.unwrap();
    assert_eq!(landed.fresh, 1, "another ESP's ids are its own");
    assert_eq!(desk.job(&id).await.events.len(), 2);
    assert_eq!(desk.land(&[]).await, Landed::default());
}

/// The worker has not recorded its result yet: the event waits, and moves the job behind it.
pub async fn an_event_before_the_result_waits_for_it(desk: Desk) {
    let (taken, in_doubt) = (fresh_id("taken"), fresh_id("doubt"));
    for id in [&taken, &in_doubt] {
        desk.claimed(id).await;
        let landed = desk.land(&[event(id, EventKind::Delivered, "1")]).await;
        assert_eq!((landed.fresh, landed.moved.len()), (1, 0));
        let job = desk.job(id).await;
        assert_eq!((job.state.as_str(), job.events[0].applied), ("sending", false));
    }
    assert_eq!(desk.record_one(accepted(&taken, 1)).await, RecordVerdict::Recorded);
    assert_eq!(desk.record_one(lost(&in_doubt, Due::Held)).await, RecordVerdict::Recorded);
    for (id, resolutions) in [(&taken, 0), (&in_doubt, 1)] {
        desk.swept_into(id, "delivered").await;
        let job = desk.job(id).await;
        assert!(job.events[0].applied && job.pending.is_none(), "{job:?}");
        assert_eq!(job.resolutions.len(), resolutions);
    }
    assert_eq!(desk.job(&taken).await.provider_message_id.as_deref(), Some("abc"));
    assert_eq!(desk.job(&in_doubt).await.provider_message_id.as_deref(), Some("from-event"));
}

/// The ledger does not know the job yet.
pub async fn an_event_before_the_job_waits_for_it(desk: Desk) {
    let id = fresh_id("job");
    let landed = desk.land(&[event(&id, EventKind::Bounced, "1")]).await;
    assert_eq!((landed.fresh, landed.moved.len()), (1, 0));
    assert!(desk.events.apply_due(100).await.unwrap().is_empty());
    desk.claimed(&id).await;
    desk.record_one(accepted(&id, 1)).await;
    desk.swept_into(&id, "bounced").await;
}

/// Whichever comes first, both are there in the end: a result and an event at the same instant.
pub async fn results_and_events_at_the_same_time_lose_nothing(desk: Desk) {
    let ids: Vec<JobId> = (0..40).map(|n| fresh_id(&format!("race{n}"))).collect();
    for id in &ids {
        desk.claimed(id).await;
    }
    let records: Vec<Record> = ids.iter().map(|id| accepted(id, 1)).collect();
    let events: Vec<EspEvent> = ids.iter().map(|id| event(id, EventKind::Delivered, "1")).collect();
    let record = async {
        for one in records.chunks(4) {
            let verdicts = desk.ledger.record(one).await.unwrap();
            assert!(verdicts.iter().all(|it| *it == RecordVerdict::Recorded), "{verdicts:?}");
        }
    };
    let land = async {
        for one in events.chunks(5) {
            desk.events.land(&esp(), one).await.unwrap();
        }
    };
    let sweep = async {
        for _ in 0..10 {
            desk.events.apply_due(100).await.unwrap();
        }
    };
    tokio::join!(record, land, sweep);
    for id in &ids {
        desk.swept_into(id, "delivered").await;
        let job = desk.job(id).await;
        assert_eq!(job.provider_message_id.as_deref(), Some("abc"), "{job:?}");
        assert!(job.resolutions.is_empty(), "{job:?}");
    }
}

/// A dead worker leaves the job as `sending`; once that is found out, the event that waits settles it.
pub async fn an_event_settles_a_job_whose_worker_was_lost(desk: Desk) {
    let id = fresh_id("job");
    let mut short = claim(&id);
    short.intent = send_for(Duration::from_millis(1));
    desk.ledger.claim(&[short]).await.unwrap();
    desk.land(&[event(&id, EventKind::Processed, "1")]).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(desk.ledger.claim(&[claim(&id)]).await.unwrap()[0], ClaimVerdict::Lost { attempt: 1 });
    desk.swept_into(&id, "accepted").await;
    assert_eq!(desk.job(&id).await.resolutions[0].by, "webhook:main");
}

/// Another tenant's event cannot touch a job, whatever it says.
pub async fn an_event_of_another_tenant_moves_nothing(desk: Desk) {
    let id = fresh_id("job");
    desk.unknown(&id).await;
    let mut theirs = event(&id, EventKind::Complained, "1");
    theirs.tenant = Some("acme".parse().unwrap());
    assert!(desk.land(&[theirs]).await.moved.is_empty());
    assert_eq!(desk.job(&id).await.state, "unknown");
}

/// An event that names its job alone is of the job's tenant: it moves the job, and suppresses for that tenant and no other.
pub async fn an_event_without_a_tenant_is_of_the_jobs_tenant(desk: Desk) {
    let acme: Tenant = "acme".parse().unwrap();
    let untold = |id: &JobId, recipient: &str| EspEvent {
        tenant: None,
        suppress: Some(Suppress {
            recipient: Address::parse(recipient).unwrap(),
            reason: SuppressReason::Bounce,
        }),
        ..event(id, EventKind::Bounced, "1")
    };
    let (theirs, ours, stranger) = (fresh_id("theirs"), fresh_id("ours"), fresh_id("stranger"));
    let claims = [Claim { tenant: acme.clone(), ..claim(&theirs) }, claim(&ours)];
    assert_eq!(desk.ledger.claim(&claims).await.unwrap(), [ClaimVerdict::Go, ClaimVerdict::Go]);
    desk.record_one(Record { tenant: acme.clone(), ..accepted(&theirs, 1) }).await;
    desk.record_one(accepted(&ours, 1)).await;
    // One that says whose it is keeps its word beside them.
    let wrong = EspEvent { tenant: Some(acme.clone()), ..event(&ours, EventKind::Complained, "2") };
    let events = [
        untold(&theirs, "theirs@gmail.com"),
        untold(&ours, "ours@gmail.com"),
        untold(&stranger, "stranger@gmail.com"),
        wrong,
    ];
    let landed = desk.land(&events).await;
    let mut moved: Vec<_> = landed.moved.iter().map(|it| it.job.clone()).collect();
    moved.sort();
    let mut expected = vec![theirs.clone(), ours.clone()];
    expected.sort();
    assert_eq!((landed.fresh, landed.suppressed, moved), (4, 3, expected));
    for id in [&theirs, &ours] {
        assert_eq!(desk.job(id).await.state, "bounced");
    }
    for (recipient, tenant) in
        [("theirs", &acme), ("ours", &Tenant::default()), ("stranger", &Tenant::default())]
    {
        let entries = desk.console.suppressions(10).await.unwrap();
        let recipient = format!("{recipient}@gmail.com");
        let tenants: Vec<_> =
            entries.iter().filter(|it| it.recipient == recipient).map(|it| it.tenant.as_ref()).collect();
        assert_eq!(tenants, [Some(tenant)], "{recipient}");
    }
    assert_eq!(desk.land(&events).await.duplicates, 4);
}

/// The recipient is suppressed for the job's tenant, once, and an entry that is there keeps its words.
pub async fn an_event_suppresses_its_recipient(desk: Desk) {
    let suppressing = |id: &JobId, kind, reason| {
        let recipient = Address::parse("Ada@gmail.com").unwrap();
        EspEvent { suppress: Some(Suppress { recipient, reason }), ..event(id, kind, "1") }
    };
    let (one, two) = (fresh_id("one"), fresh_id("two"));
    let landed = desk.land(&[suppressing(&one, EventKind::Bounced, SuppressReason::Bounce)]).await;
    assert_eq!(landed.suppressed, 1);
    let landed = desk.land(&[suppressing(&two, EventKind::Complained, SuppressReason::Complaint)]).await;
    assert_eq!((landed.fresh, landed.suppressed), (1, 0));
    let entries = desk.console.suppressions(10).await.unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(
        (entry.recipient.as_str(), entry.reason.as_str(), entry.source.as_str()),
        ("ada@gmail.com", "bounce", "main")
    );
    assert_eq!(entry.tenant, Some(Tenant::default()));
    assert_eq!(desk.ledger.claim(&[claim(&fresh_id("next"))]).await.unwrap()[0], ClaimVerdict::Suppressed);
}

/// The event's word and category are the job's.
pub async fn a_bounce_tells_why(desk: Desk) {
    let id = fresh_id("job");
    desk.claimed(&id).await;
    desk.record_one(accepted(&id, 1)).await;
    let mut bounce = event(&id, EventKind::Bounced, "'; drop table job --");
    bounce.category = Some(Category::RecipientUnknown);
    bounce.detail = Some("550 5.1.1 no\u{0} such user".to_owned());
    desk.land(&[bounce]).await;
    let job = desk.job(&id).await;
    assert_eq!((job.state.as_str(), job.category.as_deref()), ("bounced", Some("recipient_unknown")));
    assert!(job.detail.as_deref().is_some_and(|it| it.starts_with("550 5.1.1 no")), "{job:?}");
    assert_eq!((job.events[0].kind.as_str(), job.events[0].attempt), ("bounced", Some(1)));
}

/// What expired unsent after all had been taken: the event is the better witness.
pub async fn an_event_beats_a_guess(desk: Desk) {
    let (settled, expired) = (fresh_id("settled"), fresh_id("expired"));
    desk.unknown(&settled).await;
    desk.unknowns
        .unknown_settle(std::slice::from_ref(&settled), SettleAs::Rejected, "cli", None)
        .await
        .unwrap();
    desk.unknown(&expired).await;
    let mut close = sluice_engine::Claim { attempt: 2, resend: true, ..claim(&expired) };
    close.intent = Intent::Close { state: JobState::Expired, category: Category::Expired };
    assert_eq!(desk.ledger.claim(&[close]).await.unwrap()[0], ClaimVerdict::Closed);
    for (id, before) in [(&settled, "rejected"), (&expired, "expired")] {
        desk.land(&[event(id, EventKind::Delivered, "1")]).await;
        let job = desk.job(id).await;
        assert_eq!(job.state, "delivered");
        assert_eq!(job.resolutions.last().map(|it| it.before.as_str()), Some(before));
    }
}
