//! The loop of a stage, run over a scripted stage on a paused clock.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Recover,
    Take(u32),
    EverySecond,
    Finish,
}

/// Records its steps and fails where `fails` says so.
struct Fake<F> {
    steps: Arc<Mutex<Vec<(Instant, Step)>>>,
    every_second_takes: Duration,
    recovery: Recovery,
    context: StageContext,
    fails: F,
}

/// How long a recovery takes, and whether it commits something.
#[derive(Debug, Clone, Copy, Default)]
struct Recovery {
    takes: Duration,
    commits: bool,
}

impl<F: FnMut(Step) -> Option<LakeError> + Send> Fake<F> {
    fn step(&mut self, step: Step) -> Result<(), StageError> {
        self.steps.lock().unwrap().push((Instant::now(), step));
        (self.fails)(step).map_or(Ok(()), |error| Err(error.into()))
    }
}

impl<F: FnMut(Step) -> Option<LakeError> + Send> Stage for Fake<F> {
    type Input = u32;
    type Output = ();
    type State = ();

    const STAGE: status::StageKind = status::StageKind::Silver;

    fn context(&self) -> &StageContext {
        &self.context
    }

    fn rows(_: &u32) -> u64 {
        1
    }

    async fn recover(&mut self, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        tokio::time::sleep(self.recovery.takes).await;
        if self.recovery.commits {
            self.context.meters.of(Self::STAGE).commits.note(Duration::from_millis(1));
        }
        self.step(Step::Recover)
    }

    async fn take(&mut self, (): &mut (), input: &mut u32, _: &mpsc::Sender<()>) -> Result<(), StageError> {
        self.step(Step::Take(*input))
    }

    async fn maintain(&mut self, (): &mut (), _: Effort) -> Result<(), StageError> {
        Ok(())
    }

    async fn tidy(&mut self, (): &mut ()) -> Result<(), StageError> {
        Ok(())
    }

    async fn every_second(&mut self, (): &mut (), _: &mpsc::Sender<()>) -> Result<(), StageError> {
        tokio::time::sleep(self.every_second_takes).await;
        self.step(Step::EverySecond)
    }

    async fn finish(&mut self, (): &mut (), _: &mpsc::Sender<()>) -> Result<(), StageError> {
        self.step(Step::Finish)
    }
}

/// After the first look around.
const LATER: Duration = Duration::from_millis(1_500);

fn missing() -> LakeError {
    LakeError::MissingFile { table: TableKind::Bronze, path: "part-1.parquet".into() }
}

struct Ran {
    end: Result<(), StageError>,
    took: Duration,
    steps: Vec<(Instant, Step)>,
    meters: Arc<Meters>,
}

impl Ran {
    fn count(&self, wanted: impl Fn(Step) -> bool) -> usize {
        self.steps.iter().filter(|(_, step)| wanted(*step)).count()
    }
}

/// Runs a stage over a number of `batches`, one `every` so often; without `give_up_after` it is stopped after
/// ten minutes.
async fn ran(
    batches: u32,
    every: Duration,
    every_second_takes: Duration,
    give_up_after: Option<Duration>,
    fails: impl FnMut(Step) -> Option<LakeError> + Send,
) -> Ran {
    ran_with(Recovery::default(), batches, every, every_second_takes, give_up_after, fails).await
}

async fn ran_with(
    recovery: Recovery,
    batches: u32,
    every: Duration,
    every_second_takes: Duration,
    give_up_after: Option<Duration>,
    fails: impl FnMut(Step) -> Option<LakeError> + Send,
) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let context = StageContext { give_up_after, ..StageContext::alone(folder.path()) };
    let meters = Arc::clone(&context.meters);
    let (sender, inbox) = mpsc::channel(1);
    tokio::spawn(async move {
        for n in 0..batches {
            tokio::time::sleep(every).await;
            if sender.send(n).await.is_err() {
                break;
            }
        }
    });
    let stop = context.give_up.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_mins(10)).await;
        stop.cancel();
    });
    let steps = Arc::new(Mutex::new(Vec::new()));
    let stage = Fake { steps: Arc::clone(&steps), every_second_takes, recovery, context, fails };
    let (started, (out, _nobody)) = (Instant::now(), mpsc::channel(1));
    let end = run(stage, inbox, out).await;
    let steps = steps.lock().unwrap().clone();
    Ran { end, took: started.elapsed(), steps, meters }
}

#[tokio::test(start_paused = true)]
async fn a_stage_looks_around_once_a_second_however_busy_it_is() {
    let ran = ran(1_000, Duration::from_millis(10), Duration::ZERO, None, |_| None).await;
    assert!(ran.end.is_ok());
    assert_eq!(ran.count(|step| matches!(step, Step::Take(_))), 1_000);
    let looks = ran.count(|step| step == Step::EverySecond);
    assert!((9..=10).contains(&looks), "{looks} looks in {:?}", ran.took);
    assert!(ran.meters.of(status::StageKind::Silver).is_drained());
}

#[tokio::test(start_paused = true)]
async fn looks_that_take_long_leave_time_for_batches() {
    let ran = ran(1_000, Duration::from_millis(10), Duration::from_secs(5), None, |_| None).await;
    assert_eq!(ran.count(|step| matches!(step, Step::Take(_))), 1_000);
    assert!(ran.count(|step| step == Step::EverySecond) <= 11, "a second of batches between two looks");
}

#[tokio::test(start_paused = true)]
async fn restarts_become_rare_while_the_same_work_fails_though_recovery_succeeds() {
    for failing in [Step::Take(0), Step::EverySecond, Step::Finish, Step::Recover] {
        let ran = ran(1, LATER, Duration::ZERO, None, |step| (step == failing).then(missing)).await;
        assert!(matches!(ran.end, Err(StageError::Stopped(_))), "{:?}", ran.end);
        let tries = ran.count(|step| step == failing);
        assert!((20..=50).contains(&tries), "{tries} tries at {failing:?} in ten minutes");
        assert!(!ran.meters.of(status::StageKind::Silver).is_drained());
    }
}

#[tokio::test(start_paused = true)]
async fn after_work_that_was_done_the_next_failure_is_a_first_one() {
    let mut left = [7, 1];
    let fails = |step: Step| match step {
        Step::Take(n @ (0 | 1)) if left[n as usize] > 0 => {
            left[n as usize] -= 1;
            Some(missing())
        }
        _ => None,
    };
    let ran = ran(2, Duration::ZERO, Duration::ZERO, None, fails).await;
    assert!(ran.end.is_ok());
    let second: Vec<Instant> =
        ran.steps.iter().filter(|(_, step)| *step == Step::Take(1)).map(|(at, _)| *at).collect();
    assert!(second[1] - second[0] <= BACKOFF.first);
    assert_eq!(ran.meters.of(status::StageKind::Silver).taken.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_to_end_gives_up_with_the_cause() {
    let minute = Duration::from_mins(1);
    for failing in [Step::Take(0), Step::EverySecond, Step::Finish, Step::Recover] {
        let ran = ran(1, LATER, Duration::ZERO, Some(minute), |step| (step == failing).then(missing)).await;
        let message = chain(&ran.end.unwrap_err());
        assert!(
            message.starts_with("gave up after 1m: data file part-1.parquet")
                && message.ends_with("is missing"),
            "{message}"
        );
        assert!(ran.took >= minute && ran.took <= minute + Duration::from_secs(2), "{:?}", ran.took);
    }
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_at_once_where_no_time_can_help() {
    let corrupt = || LakeError::Corrupt { table: TableKind::Bronze, what: "a file without offset".into() };
    let ran = ran(1, Duration::ZERO, Duration::ZERO, Some(Duration::from_mins(1)), |step| {
        (step == Step::Take(0)).then(corrupt)
    })
    .await;
    assert!(matches!(ran.end, Err(StageError::Lake(LakeError::Corrupt { .. }))), "{:?}", ran.end);
    assert!(ran.took < BACKOFF.first / 2, "{:?}", ran.took);
}

#[tokio::test(start_paused = true)]
async fn the_time_to_give_up_counts_from_the_first_failure_after_work_that_was_done() {
    let (mut minute, mut failures) = (0, 0);
    // Fails three times a batch, for minutes in all, but never for long.
    let fails = |step: Step| match step {
        Step::Take(n) => {
            failures = if n == minute { failures + 1 } else { 1 };
            minute = n;
            (failures <= 3).then(missing)
        }
        _ => None,
    };
    let ran = ran(100, Duration::from_secs(5), Duration::ZERO, Some(Duration::from_secs(10)), fails).await;
    assert!(ran.end.is_ok(), "{:?}", ran.end);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_commits_moves_on_however_often_it_fails() {
    let minute = Duration::from_mins(1);
    for commits in [true, false] {
        let mut failures = 0;
        let fails = |step: Step| match step {
            Step::Recover => {
                failures += 1;
                (failures <= 8).then(missing)
            }
            _ => None,
        };
        let recovery = Recovery { takes: Duration::from_secs(40), commits };
        let ran = ran_with(recovery, 1, Duration::ZERO, Duration::ZERO, Some(minute), fails).await;
        if commits {
            assert!(ran.end.is_ok(), "{:?}", ran.end);
            assert!(
                ran.took <= 9 * recovery.takes + 8 * BACKOFF.first,
                "each failure is a first one: {:?}",
                ran.took
            );
        } else {
            assert!(matches!(ran.end, Err(StageError::GaveUp { .. })), "{:?}", ran.end);
        }
    }
}

#[tokio::test]
async fn a_commit_that_fences_is_no_progress() {
    let folder = tempfile::tempdir().unwrap();
    let context = StageContext { fence: true, ..StageContext::alone(folder.path()) };
    assert_eq!(context.open(TableKind::Silver).await.unwrap().version(), 1);
    assert_eq!(context.meters.of(status::StageKind::Silver).commits.count(), 0);
}
