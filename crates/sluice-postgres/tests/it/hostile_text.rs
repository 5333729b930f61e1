//! Text made to break a statement neither breaks it nor poisons its batch.

use bytes::Bytes;
use sluice_engine::{
    Claim, ClaimVerdict, Console, DeadLetter, Due, Ledger, NextStep, Parked, Passport, RecordVerdict,
    SuppressionEntry,
};
use sluice_types::{Address, Category, JobState, Outcome, Refusal, RefusalReason, WaitReason};

use crate::fixture::{Fixture, claim, id, parked, record, sent, up_to};

const HOSTILE: &str = "x'); drop table sluice.job; --\"$1 \\ {a,NULL} \u{202e}\u{1f4a3}\n\t\u{1}\0 end";
/// The same as kept: NUL is the one character that Postgres cannot hold.
const KEPT: &str = "x'); drop table sluice.job; --\"$1 \\ {a,NULL} \u{202e}\u{1f4a3}\n\t\u{1} end";

#[tokio::test]
async fn an_outcome_is_kept_as_it_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    a.claim(&[claim("bad", 1), claim("pm", 1), claim("good", 1)]).await.unwrap();
    let next = NextStep::Final { state: JobState::Rejected, category: Some(Category::Content) };
    let rejected = Outcome::Rejected { category: Category::Content, detail: HOSTILE.to_owned() };
    let accepted = Outcome::Accepted { provider_message_id: Some(HOSTILE.to_owned()) };
    let accept = NextStep::Final { state: JobState::Accepted, category: None };
    let batch =
        [record("bad", 1, Some(rejected), next), record("pm", 1, Some(accepted), accept), sent("good", 1)];
    assert_eq!(a.record(&batch).await.unwrap(), [RecordVerdict::Recorded; 3]);
    let view = a.job(&id("bad")).await.unwrap().unwrap();
    assert_eq!(view.detail.as_deref(), Some(KEPT));
    assert_eq!(view.attempt_list[0].detail.as_deref(), Some(KEPT));
    let view = a.job(&id("pm")).await.unwrap().unwrap();
    assert_eq!(view.provider_message_id.as_deref(), Some(KEPT));
}

#[tokio::test]
async fn a_parked_job_is_kept_as_it_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let job = Parked {
        domain: HOSTILE.to_owned(),
        limit_key: Some(HOSTILE.to_owned()),
        body: Bytes::from_static(HOSTILE.as_bytes()),
        passport: Passport { traceparent: Some(HOSTILE.to_owned()), ..Passport::default() },
        ..parked("j", 1, Due::In(std::time::Duration::ZERO), WaitReason::DomainLimit)
    };
    a.park(&[job]).await.unwrap();
    let view = a.job(&id("j")).await.unwrap().unwrap();
    assert_eq!(view.pending.unwrap().limit_key.as_deref(), Some(KEPT));
    let batch = a.due(&up_to(1)).await.unwrap().unwrap();
    assert_eq!(batch.jobs()[0].domain, KEPT);
    assert_eq!(batch.jobs()[0].passport.traceparent.as_deref(), Some(KEPT));
    assert_eq!(batch.jobs()[0].body.as_ref(), HOSTILE.as_bytes());
}

#[tokio::test]
async fn a_refused_message_is_kept_as_it_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let letter = DeadLetter {
        job_id: Some(HOSTILE.to_owned()),
        lane: "default.bulk.other".parse().unwrap(),
        // As one could be that was not made by `Refusal::new`.
        refusal: Refusal {
            reason: RefusalReason::NotJson,
            field: HOSTILE.to_owned(),
            detail: HOSTILE.to_owned(),
        },
        body: Bytes::from_static(b"\0\xff not utf-8"),
    };
    a.refuse(&[letter]).await.unwrap();
    let listed = a.dead_list(None, 10).await.unwrap().remove(0);
    let texts = [listed.job_id.as_deref().unwrap(), &listed.field, &listed.detail];
    assert_eq!(texts, [KEPT; 3]);
    let (_, body) = a.dead_show(listed.id).await.unwrap().unwrap();
    assert_eq!(body.as_ref(), b"\0\xff not utf-8");
    assert_eq!(a.dead_list(Some(HOSTILE), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_suppression_is_kept_as_it_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let entry = SuppressionEntry {
        tenant: None,
        recipient: HOSTILE.to_owned(),
        reason: HOSTILE.to_owned(),
        source: HOSTILE.to_owned(),
        created_at: None,
    };
    assert_eq!(a.suppress(&[entry]).await.unwrap(), 1);
    let listed = a.suppressions(10).await.unwrap().remove(0);
    assert_eq!(
        [listed.recipient.as_str(), &listed.reason, &listed.source],
        [&KEPT.to_ascii_lowercase(), KEPT, KEPT]
    );
    assert_eq!(a.unsuppress(None, &[HOSTILE.to_owned()]).await.unwrap(), 1);
}

#[tokio::test]
async fn odd_addresses_are_claimed() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let recipient = Address::parse("o'Brien{x}|`$&*@gmail.com").unwrap();
    let odd = Claim { recipient, ..claim("a:b@c+d=e._-", 1) };
    assert_eq!(a.claim(&[odd]).await.unwrap(), [ClaimVerdict::Go]);
}
