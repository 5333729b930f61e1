//! Cases of `Fleet`.

use std::sync::Arc;

use sluice_engine::Fleet;
use sluice_policy::{
    BreakerTurn, CampaignOrder, Edit, LimitEdit, Order, Presence, Report, SendVerdict, Sends, Turn, View,
};

const SECOND_NS: i64 = 1_000_000_000;

/// A fresh document under test.
#[derive(Debug)]
pub struct Document {
    /// At least two handles on one store, where the store allows several workers; else the same one twice.
    pub replicas: Vec<Arc<dyn Fleet>>,
    /// Whatever must live as long as the document.
    pub keep: Box<dyn std::fmt::Debug + Send + Sync>,
}

impl Document {
    fn replica(&self, n: usize) -> &dyn Fleet {
        &*self.replicas[n % self.replicas.len()]
    }

    async fn exchange(&self, n: usize, report: &Report) -> View {
        self.replica(n).exchange(report).await.unwrap()
    }

    async fn edit(&self, n: usize, edit: Edit) {
        self.replica(n).edit(edit).await.unwrap();
    }

    async fn look(&self, n: usize) -> View {
        self.replica(n).look().await.unwrap()
    }
}

fn here(replica: &str) -> Report {
    let presence = Presence { version: "1.2.3".to_owned(), works: true, ..Presence::default() };
    Report { replica: replica.to_owned(), presence: Some(presence), ..Report::default() }
}

fn names(view: &View) -> Vec<&str> {
    view.replicas.iter().map(|replica| replica.name.as_str()).collect()
}

/// The second knows of the first, and the first of the second one exchange later.
pub async fn replicas_see_each_other(document: Document) {
    assert_eq!(names(&document.exchange(0, &here("a")).await), ["a"]);
    let second = document.exchange(1, &here("b")).await;
    assert_eq!(names(&second), ["a", "b"]);
    assert_eq!(second.replicas[0].presence.version, "1.2.3");
    let ago_ns = second.replicas[0].seen_ago_ns;
    assert!((0..30 * SECOND_NS).contains(&ago_ns), "on the store's clock: {ago_ns}");
    assert_eq!(names(&document.exchange(0, &here("a")).await), ["a", "b"]);
}

/// At once, not when it is given up on.
pub async fn a_replica_that_leaves_is_gone(document: Document) {
    document.exchange(0, &here("a")).await;
    document.exchange(1, &here("b")).await;
    document.exchange(0, &Report { leaves: true, presence: None, ..here("a") }).await;
    assert_eq!(names(&document.look(1).await), ["b"]);
}

fn slower(key: &str) -> Edit {
    let edit =
        LimitEdit { spec: "5/s".to_owned(), by: "ada".to_owned(), at: "2026-11-24T12:00:00Z".to_owned() };
    Edit::Limit { key: key.to_owned(), edit: Some(edit) }
}

fn pause(order: Option<Order>) -> Edit {
    Edit::Campaign { tenant: "acme".to_owned(), campaign: "spring".to_owned(), order }
}

/// Whoever took it.
pub async fn an_edit_is_seen_by_every_replica(document: Document) {
    document.edit(0, slower("esp:main/per:s")).await;
    document.edit(1, pause(Some(Order::Paused))).await;
    document.edit(0, Edit::Breaker { esp: "main".to_owned(), open: Some(true) }).await;
    for n in 0..2 {
        let view = document.exchange(n, &here("a")).await;
        assert_eq!(view.limit_edits["esp:main/per:s"].spec, "5/s");
        let order =
            CampaignOrder { tenant: "acme".to_owned(), campaign: "spring".to_owned(), order: Order::Paused };
        assert_eq!(view.campaigns, [order]);
        assert_eq!(view.breakers["main"].order, Some(true));
    }
}

/// And repeated.
pub async fn an_order_can_be_taken_back(document: Document) {
    for edit in [pause(Some(Order::Paused)), pause(Some(Order::Paused)), slower("k"), slower("k")] {
        document.edit(0, edit).await;
    }
    let view = document.look(1).await;
    assert_eq!((view.campaigns.len(), view.limit_edits.len()), (1, 1));
    for _ in 0..2 {
        document.edit(1, pause(None)).await;
        document.edit(0, Edit::Limit { key: "k".to_owned(), edit: None }).await;
    }
    let view = document.look(0).await;
    assert_eq!((view.campaigns.len(), view.limit_edits.len()), (0, 0));
}

/// A caller that lost the answer hands it in again.
pub async fn a_repeated_report_is_harmless(document: Document) {
    let turn =
        BreakerTurn { esp: "main".to_owned(), turn: Turn::Opened { for_ns: 3600 * SECOND_NS, trips: 1 } };
    let report = Report { turns: vec![turn], ..here("a") };
    let first = document.exchange(0, &report).await;
    let second = document.exchange(1, &report).await;
    assert_eq!(names(&second), ["a"]);
    for view in [first, second] {
        let breaker = &view.breakers["main"];
        assert_eq!(breaker.trips, 1);
        assert!(breaker.open_for_ns.is_some_and(|left_ns| left_ns > 3500 * SECOND_NS), "{breaker:?}");
    }
}

/// For people.
pub async fn a_look_changes_nothing(document: Document) {
    let view = document.look(0).await;
    assert!(view.now_ns > 0);
    assert_eq!(view, View { now_ns: view.now_ns, ..View::default() });
    document.exchange(0, &here("a")).await;
    let (first, second) = (document.look(0).await, document.look(1).await);
    assert_eq!((names(&first), names(&second)), (vec!["a"], vec!["a"]));
}

/// Eight replicas hand in as fast as they can, and every word is counted.
pub async fn exchanges_at_the_same_time_lose_nothing(document: Document) {
    const ROUNDS: u64 = 25;
    let document = Arc::new(document);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8_usize {
        let document = Arc::clone(&document);
        tasks.spawn(async move {
            let send = Sends {
                esp: "main".to_owned(),
                group: "gmail".to_owned(),
                word: "accepted".to_owned(),
                verdict: SendVerdict::Accepted,
                count: 1,
            };
            let report = Report { sends: vec![send], ..here(&format!("r{n}")) };
            for round in 0..ROUNDS {
                document.exchange(n, &report).await;
                document.edit(n, slower(&format!("esp:e{n}-{round}/per:s"))).await;
            }
        });
    }
    tasks.join_all().await;
    let view = document.look(0).await;
    assert_eq!(view.tally["main"].last_ten_minutes["accepted"], 8 * ROUNDS);
    assert_eq!(view.limit_edits.len(), 200);
    assert_eq!(view.replicas.len(), 8);
}

/// The document is not put together from text.
pub async fn hostile_names_are_kept_as_they_are(document: Document) {
    let hostile = "x'); drop table sluice.fleet; --\"$1 \\ {\u{1F600}} \u{0}\u{1}\n";
    document.edit(0, slower(hostile)).await;
    document.exchange(0, &here(hostile)).await;
    let view = document.look(1).await;
    assert!(view.limit_edits.contains_key(hostile));
    assert_eq!(names(&view), [hostile]);
}
