//! The loop of the dashboard, with simulated events and a canvas that keeps the last frame.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;

use super::*;

#[derive(Default)]
struct Seen {
    frames: AtomicUsize,
    is_suspended: AtomicBool,
    frames_while_suspended: AtomicUsize,
    resumed: AtomicUsize,
    last: Mutex<String>,
}

struct TestCanvas(Arc<Seen>);

impl Canvas for TestCanvas {
    fn size(&self) -> io::Result<Size> {
        Ok(Size::new(160, 48))
    }

    fn draw(&mut self, app: &App) -> io::Result<()> {
        let area = ratatui::layout::Rect::new(0, 0, 160, 48);
        let mut buffer = ratatui::buffer::Buffer::empty(area);
        view::render(&mut buffer, area, app);
        self.0
            .frames_while_suspended
            .fetch_add(self.0.is_suspended.load(Ordering::SeqCst).into(), Ordering::SeqCst);
        *self.0.last.lock().unwrap() = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        self.0.frames.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn suspend(&mut self) -> io::Result<Suspended> {
        self.0.is_suspended.store(true, Ordering::SeqCst);
        Ok(Suspended::Yes)
    }

    fn resume(&mut self) -> io::Result<()> {
        self.0.is_suspended.store(false, Ordering::SeqCst);
        self.0.resumed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Clone)]
struct Lake;

impl Backend for Lake {
    async fn candles(&self, query: CandleQuery) -> Result<CandleSeries, String> {
        Ok(fixture::series(&query))
    }

    async fn markets(&self) -> Result<Vec<MarketRow>, String> {
        Ok(fixture::rows())
    }

    async fn alerts(&self, _: usize) -> Result<Vec<Alert>, String> {
        Err("no such table".to_owned())
    }
}

/// A lake that never answers.
#[derive(Clone)]
struct Silent;

impl Backend for Silent {
    async fn candles(&self, _: CandleQuery) -> Result<CandleSeries, String> {
        std::future::pending().await
    }

    async fn markets(&self) -> Result<Vec<MarketRow>, String> {
        std::future::pending().await
    }

    async fn alerts(&self, _: usize) -> Result<Vec<Alert>, String> {
        std::future::pending().await
    }
}

/// A running dashboard with the other ends of its inputs.
struct Dashboard {
    seen: Arc<Seen>,
    events: mpsc::UnboundedSender<io::Result<Event>>,
    jobs: mpsc::UnboundedSender<JobSignal>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    selected: watch::Receiver<Option<Arc<str>>>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), TuiError>>,
}

impl Dashboard {
    fn start(backend: impl Backend) -> Self {
        let seen = Arc::new(Seen::default());
        let (events, mut terminal) = mpsc::unbounded_channel();
        let (jobs, mut shell) = mpsc::unbounded_channel();
        let inputs = Inputs {
            events: futures::stream::poll_fn(move |context| terminal.poll_recv(context)),
            jobs: futures::stream::poll_fn(move |context| shell.poll_recv(context)),
        };
        let (snapshots, watching) = watch::channel(Arc::new(fixture::snapshot()));
        let (sender, selected) = watch::channel(None);
        let cancel = CancellationToken::new();
        let options = Options {
            settings: DashboardSettings { interval: Some(Interval::Minute1), ..DashboardSettings::default() },
            selected: Some(sender),
        };
        let task =
            tokio::spawn(drive(TestCanvas(seen.clone()), inputs, watching, backend, options, cancel.clone()));
        Self { seen, events, jobs, snapshots, selected, cancel, task }
    }

    fn press(&self, code: KeyCode, modifiers: KeyModifiers) {
        self.events.send(Ok(Event::Key(KeyEvent::new(code, modifiers)))).unwrap();
    }

    async fn until(&self, what: &str) {
        for _ in 0..1000 {
            if self.seen.last.lock().unwrap().contains(what) {
                return;
            }
            assert!(!self.task.is_finished(), "the dashboard ended before it showed {what:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what:?} is not in {}", self.seen.last.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn it_shows_answers_and_quits_on_a_key() {
    let mut dashboard = Dashboard::start(Lake);
    dashboard.until("Bitcoin BTC/USD").await;
    dashboard.until("no such table").await;
    dashboard.until("of 1,367").await;
    dashboard.press(KeyCode::Char('j'), KeyModifiers::NONE);
    dashboard.selected.wait_for(|coin| coin.as_deref() == Some("ethereum")).await.unwrap();
    dashboard.until("Ethereum ETH/USD").await;
    dashboard.press(KeyCode::Char('q'), KeyModifiers::NONE);
    assert!(dashboard.task.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_drawn_while_the_job_is_stopped_and_a_whole_frame_when_it_is_continued() {
    let dashboard = Dashboard::start(Lake);
    dashboard.until("Bitcoin BTC/USD").await;
    dashboard.jobs.send(JobSignal::Stop).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(dashboard.seen.is_suspended.load(Ordering::SeqCst));
    assert_eq!(dashboard.seen.frames_while_suspended.load(Ordering::SeqCst), 0);
    dashboard.seen.last.lock().unwrap().clear();
    dashboard.jobs.send(JobSignal::Continue).unwrap();
    dashboard.until("Bitcoin BTC/USD").await;
    // SIGSTOP cannot be handled: only the continuation arrives.
    dashboard.seen.last.lock().unwrap().clear();
    dashboard.jobs.send(JobSignal::Continue).unwrap();
    dashboard.until("Bitcoin BTC/USD").await;
    assert_eq!(dashboard.seen.resumed.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn no_frame_waits_for_an_answer() {
    let dashboard = Dashboard::start(Silent);
    dashboard.until("STARTING").await;
    dashboard.until("reading the alert log…").await;
    dashboard.press(KeyCode::Char('?'), KeyModifiers::NONE);
    dashboard.until("next coin").await;
    dashboard.cancel.cancel();
    assert!(dashboard.task.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_snapshots_is_at_most_thirty_frames_a_second() {
    let dashboard = Dashboard::start(Lake);
    dashboard.until("Bitcoin").await;
    let before = dashboard.seen.frames.load(Ordering::SeqCst);
    for at in 0..1000 {
        let mut snapshot = fixture::snapshot();
        snapshot.totals.ticks = at;
        dashboard.snapshots.send_replace(Arc::new(snapshot));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let frames = dashboard.seen.frames.load(Ordering::SeqCst) - before;
    assert!((20..=32).contains(&frames), "{frames}");
}

#[tokio::test(start_paused = true)]
async fn it_continues_when_the_pipeline_ends_and_ends_when_the_terminal_is_gone() {
    let dashboard = Dashboard::start(Lake);
    let Dashboard { events, jobs: _jobs, snapshots, task, seen, .. } = dashboard;
    drop(snapshots);
    let frames = seen.frames.load(Ordering::SeqCst);
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(seen.frames.load(Ordering::SeqCst) > frames && !task.is_finished());
    drop(events);
    assert!(task.await.unwrap().is_ok());
}
