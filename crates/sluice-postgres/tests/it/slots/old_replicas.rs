//! Replicas of before lease from the same state while a fleet is updated one by one: by the functions of V4 (V3), which know the
//! arrival time of a limit alone.

use tokio::time::sleep;

use super::*;

const SPACINGS_NS: [(&str, i64); 2] = [("esp:main/per:s", 20_400_000), ("esp:spare/per:s", 51_000_000)];

/// What an old replica has leased of one limit.
struct OldLease {
    key: &'static str,
    spacing_ns: i64,
    openings_ns: Vec<i64>,
    mark: i64,
}

async fn old_lease(sql: &Client, is_braked: bool, at_ns: Option<i64>) -> Vec<OldLease> {
    let (keys, spacings): (Vec<&str>, Vec<i64>) = SPACINGS_NS
        .map(|(key, spacing_ns)| (key, if is_braked { 2 * spacing_ns } else { spacing_ns }))
        .into_iter()
        .unzip();
    let lease = "select l.position, open_now, then_in_ns, then_count, leased_at_ns, mark
        from sluice.lease($1, '{3,3}', '{0,0}', '{0,0}', $2, '{1,1}', '{18000000,18000000}', '{300000000,300000000}',
            '{1000000000,1000000000}', '{null,null}', '{null,null}', '{null,null}', $3) l";
    let rows = sql.query(lease, &[&keys, &spacings, &at_ns]).await.unwrap();
    let of_row = |row: tokio_postgres::Row| {
        let number = |at| row.get::<_, i64>(at);
        let place = usize::try_from(number(0) - 1).unwrap();
        let (&key, &spacing_ns) = keys.iter().zip(&spacings).nth(place).unwrap();
        let now = (0..number(1)).map(|_| number(4));
        let then = (0..number(3)).map(|i| number(4) + number(2) + i * spacing_ns);
        OldLease { key, spacing_ns, openings_ns: now.chain(then).collect(), mark: number(5) }
    };
    rows.into_iter().map(of_row).collect()
}

/// Gives the last slot of a lease back.
async fn old_give_back(sql: &Client, lease: &OldLease) {
    let back = "select sluice.give_back(array[$1], '{1}', array[$2::bigint], array[$3::bigint])";
    sql.execute(back, &[&lease.key, &lease.spacing_ns, &lease.mark]).await.unwrap();
}

/// A new replica leases several limits at once.
fn new_wants(is_braked: bool) -> [Want; 2] {
    let mut wants = [together(&[("main", "50/s"), ("spare", "20/s")], 2), want("main", "50/s", 2)];
    if is_braked {
        wants[1].rates_permille = vec![500];
    }
    wants
}

/// Takes the first run out of a lease, to be given back.
fn first_run(want: &Want, leased: &mut Leased) -> Option<Vec<Unused>> {
    let mut gone = leased.clone();
    gone.runs = vec![(!leased.runs.is_empty()).then(|| leased.runs.remove(0))?];
    gone.parts = leased.parts.drain(..want.limits.len()).collect();
    Some(unused_of(want, &gone))
}

/// One act of a replica at the store's clock.
#[derive(Clone, Debug)]
struct Act {
    after_ns: i64,
    is_old: bool,
    is_braked: bool,
    /// Part of it comes back when so many others have acted.
    back_after: Option<usize>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let after_us =
        prop_oneof![2 => Just(0_i64), 3 => 1_i64..3000, 4 => 3000_i64..30_000, 1 => 30_000_i64..900_000];
    let act = (after_us, any::<bool>(), prop::bool::weighted(0.15), prop::option::weighted(0.35, 0_usize..5));
    let act = act.prop_map(|(after_us, is_old, is_braked, back_after)| Act {
        after_ns: after_us * 1000,
        is_old,
        // Known and left: an old replica under a brake counts from another arrival time, so that one of its slots may coincide
        // with a free one that a new replica uses (new under a brake with a part given back, old, old under a brake, new thrice).
        is_braked: is_braked && !is_old,
        back_after,
    });
    prop::collection::vec(act, 1..120)
}

/// What is given back later.
enum Back {
    Old(OldLease),
    New(Vec<Unused>),
}

/// The acts in turn; all slots that were not given back.
async fn perform(store: &Postgres, sql: &Client, acts: &[Act]) -> Openings {
    let mut now_ns = START_NS;
    let mut taken = Openings::new();
    let mut backs: Vec<(usize, Back)> = Vec::new();
    for (turn, act) in acts.iter().enumerate() {
        now_ns += act.after_ns;
        let due: Vec<(usize, Back)> = backs.extract_if(.., |(at, _)| *at == turn).collect();
        for (_, back) in due {
            match back {
                Back::Old(lease) => old_give_back(sql, &lease).await,
                Back::New(unused) => store.return_slots_at(&unused, Some(now_ns)).await.unwrap(),
            }
        }
        let back_at = act.back_after.map(|others| turn + 1 + others);
        if act.is_old {
            for mut lease in old_lease(sql, act.is_braked, Some(now_ns)).await {
                let is_less = back_at.is_some() && lease.openings_ns.pop().is_some();
                taken.entry(lease.key.to_owned()).or_default().extend(&lease.openings_ns);
                backs.extend(back_at.filter(|_| is_less).map(|at| (at, Back::Old(lease))));
            }
        } else {
            let wants = new_wants(act.is_braked);
            for (want, mut leased) in wants.iter().zip(store.lease_at(&wants, Some(now_ns)).await.unwrap()) {
                let unused = back_at.and_then(|at| Some((at, Back::New(first_run(want, &mut leased)?))));
                backs.extend(unused);
                add(&mut taken, want, &leased);
            }
        }
    }
    taken
}

fn assert_all_spaced(taken: &mut Openings) {
    for (key, spacing_ns) in SPACINGS_NS {
        assert_spaced(taken, key, spacing_ns);
    }
}

#[test]
fn old_and_new_replicas_in_any_order_exceed_no_window() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let (store, sql) = runtime.block_on(async { (fixture.worker("a"), fixture.sql().await) });
    let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
    let performed = runner.run(&acts(), |acts| {
        let mut taken = runtime.block_on(async {
            sql.batch_execute("truncate sluice.limit_gcra, sluice.limit_count").await.unwrap();
            perform(&store, &sql, &acts).await
        });
        taken.entry("esp:spare/per:s".to_owned()).or_default();
        taken.entry("esp:main/per:s".to_owned()).or_default();
        assert_all_spaced(&mut taken);
        Ok(())
    });
    performed.unwrap();
}

/// At half the rate the arrival time lies where one more slot at the full rate puts it.
#[tokio::test]
async fn a_slot_of_a_braked_old_replica_lapses_when_another_was_leased_since() {
    let fixture = Fixture::new().await;
    let (store, sql) = (fixture.worker("a"), fixture.sql().await);
    let old = old_lease(&sql, true, Some(START_NS)).await;
    let [main, _] = &old[..] else { panic!("two") };
    let one = [want("main", "50/s", 1)];
    let first = store.lease_at(&one, Some(START_NS)).await.unwrap().remove(0);
    old_give_back(&sql, main).await;
    let second = store.lease_at(&one, Some(START_NS)).await.unwrap().remove(0);
    let opens_ns = |leased: &Leased| openings(&one[0], leased, 0)[0];
    assert_eq!(main.openings_ns.last().unwrap() + 20_400_000, opens_ns(&first));
    assert_eq!(opens_ns(&first) + 20_400_000, opens_ns(&second));
}

async fn old_replica(sql: Arc<Client>, rounds: u32) -> Openings {
    let mut taken = Openings::new();
    for round in 0..rounds {
        for mut lease in old_lease(&sql, round % 7 == 3, None).await {
            if round % 5 == 2 && lease.openings_ns.pop().is_some() {
                old_give_back(&sql, &lease).await;
            }
            taken.entry(lease.key.to_owned()).or_default().extend(lease.openings_ns);
        }
        sleep(Duration::from_millis(11)).await;
    }
    taken
}

async fn new_replica(store: Postgres, rounds: u32) -> Openings {
    let mut taken = Openings::new();
    for round in 0..rounds {
        let wants = new_wants(round % 9 == 4);
        for (want, mut leased) in wants.iter().zip(store.lease(&wants).await.unwrap()) {
            if round % 4 == 1
                && want.limits.len() == 2
                && let Some(unused) = first_run(want, &mut leased)
            {
                store.give_back(&unused).await.unwrap();
            }
            add(&mut taken, want, &leased);
        }
        sleep(Duration::from_millis(13)).await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn old_and_new_replicas_together_exceed_no_window() {
    const ROUNDS: u32 = 60;
    let fixture = Fixture::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..2 {
        tasks.spawn(new_replica(fixture.worker(&format!("new{n}")), ROUNDS));
        tasks.spawn(old_replica(fixture.sql().await, ROUNDS));
    }
    let mut all = Openings::new();
    for (key, openings) in tasks.join_all().await.into_iter().flatten() {
        all.entry(key).or_default().extend(openings);
    }
    assert_all_spaced(&mut all);
    assert!(all["esp:main/per:s"].len() > 20 && all["esp:spare/per:s"].len() > 8, "{all:?}");
}

/// An old replica knows no free slots: it moves the arrival time to another spacing and leaves them as they are.
#[tokio::test]
async fn free_slots_are_gone_when_an_old_replica_has_changed_the_spacing() {
    let fixture = Fixture::new().await;
    let store = fixture.worker("a");
    let both = together(&[("main", "4/s"), ("spare", "2/s")], 2);
    let leased = store.lease(std::slice::from_ref(&both)).await.unwrap().remove(0);
    let [main, _] = &both.limits[..] else { panic!("two") };
    let next_in = async || store.look(std::slice::from_ref(main)).await.unwrap()[0].next_in;
    // One was left out.
    assert!(next_in().await <= Duration::from_millis(255));
    let old = "select open_now::text from sluice.lease(array['esp:main/per:s'], '{0}', '{0}', '{0}', '{260000000}', '{1}', \
               '{18000000}', '{300000000}', '{1000000000}', '{null}', '{null}', '{null}', null)";
    assert_eq!(fixture.text(old).await, "0");
    assert!(next_in().await > Duration::from_millis(300));
    // What is given back of before lapses, and the next lease begins another grid.
    store.give_back(&unused_of(&both, &leased)).await.unwrap();
    assert!(next_in().await > Duration::from_millis(300));
    let later = store.lease(&[want("main", "4/s", 1)]).await.unwrap().remove(0);
    assert!(later.marks[0] > leased.marks[0], "{later:?} {leased:?}");
    assert!(later.parts.iter().all(|first| *first > leased.parts[2]), "{later:?} {leased:?}");
}

/// While replicas are updated one by one, the old ones still lease by the function of V3.
#[tokio::test]
async fn old_replicas_lease_from_the_same_state() {
    let fixture = Fixture::new().await;
    let store = fixture.worker("a");
    let old = "select (open_now + then_count)::text from sluice.lease(\
               array['esp:main/per:s', 'esp:main/per:h'], array[4, 9], array[10200000000, null], array[4, null], \
               array[100000000, null], array[5000000000, null], array[null, 30], array[null, 61000000000], \
               array[null, 60], null) order by position";
    let bucket = want("main", "100/s burst 5", 1);
    assert_eq!(fixture.text(old).await, "4");
    let look = store.look(&[bucket.limits[0].clone(), limit("main", "30/h")]).await.unwrap();
    assert!(look[0].next_in > Duration::from_secs(35), "{look:?}");
    assert_eq!(look[1].used, 9);
    assert_eq!(slots(&store.lease(&[bucket]).await.unwrap()[0]), 0);
}
