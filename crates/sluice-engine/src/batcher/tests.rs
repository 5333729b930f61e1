use std::sync::Mutex as StdMutex;

use tokio::time::Instant;

use super::*;
use crate::worker::rig::PausedClock;

const BESIDE: Gather = Gather::Beside(Duration::from_millis(3));

/// Notes the rows of each statement.
struct Slow {
    statements: Arc<StdMutex<Vec<Vec<u32>>>>,
    time: Duration,
}

impl Slow {
    fn for_ms(ms: u64) -> Self {
        Self { statements: Arc::default(), time: Duration::from_millis(ms) }
    }
}

#[async_trait]
impl Write for Slow {
    type Row = u32;
    type Answer = u32;

    const KIND: Batch = Batch::Claim;

    fn key<'a>(&self, _row: &'a u32) -> Option<&'a str> {
        None
    }

    async fn write(&self, rows: &[u32]) -> Result<Vec<u32>, LedgerError> {
        self.statements.lock().unwrap().push(rows.to_vec());
        tokio::time::sleep(self.time).await;
        Ok(rows.to_vec())
    }
}

/// [`submit_to`] a store that takes 100 ms for a statement.
async fn submit_at(gather: Gather, arrivals: &[u32]) -> (Vec<Vec<u32>>, Vec<u128>) {
    submit_to(Slow::for_ms(100), gather, arrivals).await
}

/// Three writers to `store`.
fn start(store: Slow, gather: Gather) -> Batcher<Slow> {
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let around = Surroundings {
        clock: Arc::new(PausedClock(Instant::now())),
        metrics: Arc::clone(&metrics),
        health: Arc::new(Health::new(metrics)),
        tasks: TaskTracker::new(),
    };
    Batcher::start(store, 3, gather, None, &around)
}

/// Submits one row at each of these milliseconds to three writers; answers the statements, and when each row was answered.
#[expect(clippy::disallowed_methods, reason = "tests have no tracker")]
async fn submit_to(store: Slow, gather: Gather, arrivals: &[u32]) -> (Vec<Vec<u32>>, Vec<u128>) {
    let statements = Arc::clone(&store.statements);
    let batcher = Arc::new(start(store, gather));
    let begin = Instant::now();
    let mut rows = Vec::new();
    for at in arrivals.iter().copied() {
        let batcher = Arc::clone(&batcher);
        rows.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(at.into())).await;
            assert_eq!(batcher.submit(at).await.unwrap().answer, at);
            begin.elapsed().as_millis()
        }));
    }
    let mut answered = Vec::new();
    for row in rows {
        answered.push(row.await.unwrap());
    }
    let statements = statements.lock().unwrap().clone();
    (statements, answered)
}

#[tokio::test(start_paused = true)]
async fn a_lone_row_waits_for_nobody() {
    let (statements, answered) = submit_at(BESIDE, &[0, 300]).await;
    assert_eq!(statements, [[0], [300]]);
    assert!(answered[0] <= 101 && answered[1] <= 401, "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_are_gathered_while_others_are_written() {
    let (statements, _) = submit_at(BESIDE, &[0, 10, 11, 12, 50]).await;
    assert_eq!(statements, [vec![0], vec![10, 11, 12], vec![50]]);
}

#[tokio::test(start_paused = true)]
async fn gathering_ends_with_what_is_being_written() {
    let (statements, answered) = submit_at(BESIDE, &[0, 99]).await;
    assert_eq!(statements, [[0], [99]]);
    assert!(answered[1] <= 201, "{answered:?}");
}

/// Rows that come ten in a millisecond, in quick turns with batches that are answered: three writers made statements of what
/// had come in a third of the time of one.
#[tokio::test(start_paused = true)]
async fn a_flood_is_gathered_beside_short_batches_too() {
    let arrivals: Vec<u32> = (0..3_000).map(|row| row / 10).collect();
    let (statements, _) = submit_to(Slow::for_ms(1), BESIDE, &arrivals).await;
    // Behind the first 20 ms, which are needed to see it.
    let later: Vec<usize> = statements.iter().filter(|rows| rows[0] >= 30).map(Vec::len).collect();
    let mean = later.iter().sum::<usize>() / later.len();
    assert!(mean >= 25, "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_gathered_in_any_case() {
    let always = Gather::Always(Duration::from_millis(20));
    let (statements, answered) = submit_at(always, &[0, 10, 19, 21]).await;
    assert_eq!(statements, [vec![0, 10, 19], vec![21]]);
    assert!(answered[0] >= 120, "{answered:?}");
}

/// Whoever waits for nothing is told in the batch; what comes when nobody writes any more is dropped, with all that it holds.
#[tokio::test(start_paused = true)]
async fn what_is_done_with_a_row_is_done_in_its_batch() {
    let told = Arc::new(StdMutex::new(Vec::new()));
    let tell = |row: u32| {
        let told = Arc::clone(&told);
        move |written: &u32, settled: Settled<Slow>| {
            told.lock().unwrap().push((row, *written, settled.unwrap().answer));
        }
    };
    let batcher = start(Slow::for_ms(100), BESIDE);
    for row in 0..3 {
        batcher.submit_then(row, tell(row)).await;
    }
    assert!(told.lock().unwrap().is_empty(), "nothing is written yet");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*told.lock().unwrap(), [(0, 0, 0), (1, 1, 1), (2, 2, 2)]);

    let (closed, none) = mpsc::channel(1);
    drop(none);
    let closed = Batcher::<Slow> { queue: closed };
    closed.submit_then(3, tell(3)).await;
    assert_eq!((Arc::strong_count(&told), told.lock().unwrap().len()), (1, 3));
}
