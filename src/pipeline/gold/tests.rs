use super::super::status::StageState;
use super::*;
use crate::lake::silver::TickBatch;
use crate::market::{SECOND, Tick, Ticks};

/// 2025-05-12T00:00:00Z.
const START: Micros = 1_747_008_000_000_000;

fn markets() -> Arc<Vec<Arc<Market>>> {
    Arc::new(["silent", "busy"].map(|coin| Arc::new(Market::new("s", coin, "usd"))).to_vec())
}

/// The record of this offset, with a tick of each of these markets, ten seconds after the one before it.
fn refined(offset: i64, of: &[u32]) -> Handed<TickBatch> {
    let at = START + 10 * offset * SECOND;
    let tick = |market: &u32| Tick {
        market: *market,
        index: 0,
        offset,
        event_time: at,
        price: 1.0,
        size: None,
        trade_id: None,
        details: None,
        ingested_at: at,
    };
    let ticks = Ticks { markets: markets(), ticks: of.iter().map(tick).collect() };
    let batch = TickBatch { stream: Arc::new(Stream::direct()), ticks, last: offset };
    Handed { batch, after: offset - 1, ingested_at: at, received: None }
}

async fn gold(
    folder: &std::path::Path,
    paced_since: Option<Micros>,
    out: &mpsc::Sender<Closed>,
) -> (Gold, State) {
    let finished = Arc::new(AtomicBool::new(true));
    let mut gold = Gold::new(StageContext::alone(folder), Arc::default(), finished, paced_since);
    let state = gold.recover(out).await.unwrap();
    (gold, state)
}

/// Coins and minutes of the closed candles, and gold's position.
async fn closed(state: &State) -> (Vec<(String, Micros)>, Option<i64>) {
    let table = &state.gold;
    let rows = gold::closed_after(table, 0).await.unwrap();
    let rows = rows
        .iter()
        .map(|row| (row.market.coin_id.to_string(), (row.candle.window_start - START) / (60 * SECOND)));
    (rows.collect(), table.position(&Stream::direct()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_coin_closes_and_is_no_burden_while_another_one_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _alerts) = mpsc::channel(100);
    let (mut gold, mut state) = gold(folder.path(), Some(Micros::MIN), &out).await;
    gold.context.meters.of(Gold::STAGE).offered.store(u64::MAX, Ordering::Relaxed); // something always waits
    gold.take(&mut state, &mut refined(0, &[0, 1]), &out).await.unwrap();
    for offset in 1..=17 {
        // A batch of rejects moves the clock, too.
        gold.take(&mut state, &mut refined(offset, if offset % 2 == 0 { &[1] } else { &[] }), &out)
            .await
            .unwrap();
        gold.every_second(&mut state, &out).await.unwrap();
    }
    let (rows, position) = closed(&state).await;
    assert!(rows.iter().all(|(coin, _)| coin == "busy") && !rows.is_empty(), "{rows:?}");
    assert_eq!(position, Some(-1), "the silent coin's tick is in no candle");
    gold.take(&mut state, &mut refined(18, &[]), &out).await.unwrap();
    gold.every_second(&mut state, &out).await.unwrap();
    let (rows, position) = closed(&state).await;
    assert!(rows.contains(&("silent".to_owned(), 0)), "{rows:?}");
    assert_eq!(position, Some(11), "the busy coin's ticks from 12 on are in its open candle");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_back_in_the_order_in_which_they_came_in() {
    let folder = tempfile::tempdir().unwrap();
    let (out, mut closed) = mpsc::channel(100);
    let mut silver =
        Table::open_or_create(&StageContext::alone(folder.path()).storage, TableKind::Silver).await.unwrap();
    for (topic, records) in [("z", 0..3), ("a", 10..11)] {
        let stream = Stream::new(topic, 0);
        let mut ticks = Ticks { markets: markets(), ticks: Vec::new() };
        for offset in records {
            ticks.ticks.extend(refined(offset, &[0]).batch.ticks.ticks);
        }
        let adds = silver::write(&silver, &stream, &ticks).await.unwrap();
        let txns = vec![(silver.app_id(&stream), ticks.ticks.last().unwrap().offset)];
        silver
            .commit(Commit { change: Change::Append, adds, removes: vec![], txns, facts: &[] })
            .await
            .unwrap();
    }
    gold(folder.path(), None, &out).await;
    let rows = closed.try_recv().unwrap().rows;
    assert_eq!(
        rows.iter().map(|row| row.candle.ticks).collect::<Vec<_>>(),
        [3],
        "the other way round all three are late"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_is_not_fetched_but_what_was_not_handed_over_is() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _alerts) = mpsc::channel(100);
    let (mut gold, mut state) = gold(folder.path(), None, &out).await;
    let meters = Arc::clone(&gold.context.meters);
    let meter = meters.of(Gold::STAGE);
    let mut silver = Table::open_or_create(&gold.context.storage, TableKind::Silver).await.unwrap();
    let stream = Stream::direct();
    let adds = silver::write(&silver, &stream, &refined(0, &[0]).batch.ticks).await.unwrap();
    let txns = vec![(silver.app_id(&stream), 0)];
    silver.commit(Commit { change: Change::Append, adds, removes: vec![], txns, facts: &[] }).await.unwrap();
    meter.offered.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        gold.every_second(&mut state, &out).await.unwrap();
        assert_eq!(state.windows.read_to(&stream), None);
    }
    meter.taken.store(1, Ordering::Relaxed);
    meter.offered.store(2, Ordering::Relaxed); // more waits, but not what was offered before the last look
    gold.every_second(&mut state, &out).await.unwrap();
    assert_eq!(state.windows.read_to(&stream), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_waits_the_clock_itself_closes() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _alerts) = mpsc::channel(100);
    let (mut gold, mut state) = gold(folder.path(), Some(Micros::MIN), &out).await;
    let meters = Arc::clone(&gold.context.meters);
    gold.take(&mut state, &mut refined(0, &[0, 1]), &out).await.unwrap();
    for stage in [status::StageKind::Bronze, status::StageKind::Silver, status::StageKind::Gold] {
        gold.every_second(&mut state, &out).await.unwrap();
        assert!(closed(&state).await.0.is_empty(), "{stage:?} is not there yet");
        meters.of(stage).state(StageState::Ok);
    }
    meters.of(status::StageKind::Silver).offered.store(1, Ordering::Relaxed);
    gold.every_second(&mut state, &out).await.unwrap();
    assert!(closed(&state).await.0.is_empty(), "a record waits for silver");
    meters.of(status::StageKind::Silver).taken.store(1, Ordering::Relaxed);
    gold.every_second(&mut state, &out).await.unwrap();
    assert_eq!(closed(&state).await, (vec![("busy".to_owned(), 0), ("silent".to_owned(), 0)], Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_read_as_fast_as_it_can_be_closes_at_its_end_and_only_if_all_of_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _alerts) = mpsc::channel(100);
    let (mut gold, mut state) = gold(folder.path(), None, &out).await;
    let meters = Arc::clone(&gold.context.meters);
    gold.take(&mut state, &mut refined(0, &[0]), &out).await.unwrap();
    gold.take(&mut state, &mut refined(1_000, &[]), &out).await.unwrap();
    gold.every_second(&mut state, &out).await.unwrap();
    assert!(closed(&state).await.0.is_empty());
    meters.of(status::StageKind::Bronze).drained();
    gold.finish(&mut state, &out).await.unwrap();
    assert!(closed(&state).await.0.is_empty(), "silver has failed");
    meters.of(status::StageKind::Silver).drained();
    gold.finish(&mut state, &out).await.unwrap();
    assert_eq!(closed(&state).await.0, [("silent".to_owned(), 0)]);
}
