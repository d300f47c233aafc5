//! The terminal: taken over on [`Screen::open`], given back whatever happens: on drop, on panic, while the
//! job is stopped.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossterm::cursor::Show;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use futures::Stream;
use futures::stream::{poll_fn, select};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Size};
use rustix::process::{Signal, getpgrp, getpid, getsid, kill_current_process_group, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::app::App;
use super::view;

/// A whole frame fits, so that it reaches the terminal in one write.
const BUFFER: usize = 1 << 17;

/// Whether the terminal is taken: then it must be given back, by whoever comes first.
static OPEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread runs the dashboard.
    static IN_DASHBOARD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Why there can be no dashboard here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDashboard {
    #[error("the dashboard needs a terminal and stdout is none; {HINT}")]
    Stdout,
    #[error("the dashboard needs a terminal for its keys and there is none; {HINT}")]
    Stdin,
    #[error("the dashboard needs a terminal that can place text and TERM is {0}; {HINT}")]
    Dumb(&'static str),
}

const HINT: &str = "--no-tui runs the pipeline alone, 'screenshot' draws a picture";

/// Whether the dashboard can run here.
pub fn check() -> Result<(), NoDashboard> {
    match std::env::var_os("TERM") {
        None => return Err(NoDashboard::Dumb("not set")),
        Some(term) if term.is_empty() => return Err(NoDashboard::Dumb("empty")),
        Some(term) if term == "dumb" => return Err(NoDashboard::Dumb("'dumb'")),
        Some(_) => {}
    }
    if !io::stdout().is_terminal() {
        return Err(NoDashboard::Stdout);
    }
    // A recording may come on stdin: then the keys come from the controlling terminal.
    if !io::stdin().is_terminal() && File::open("/dev/tty").is_err() {
        return Err(NoDashboard::Stdin);
    }
    Ok(())
}

/// What the shell wants of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSignal {
    Stop,
    Continue,
}

/// SIGTSTP and SIGCONT as they come. From now on SIGTSTP alone does not stop the process.
pub fn job_signals() -> io::Result<impl Stream<Item = JobSignal> + Unpin> {
    let listen = |number: Signal, meaning: JobSignal| -> io::Result<_> {
        let mut signals = signal(SignalKind::from_raw(number.as_raw()))?;
        Ok(poll_fn(move |context| signals.poll_recv(context).map(|got| got.map(|()| meaning))))
    };
    Ok(select(listen(Signal::TSTP, JobSignal::Stop)?, listen(Signal::CONT, JobSignal::Continue)?))
}

/// Sends SIGTSTP to the whole job, as the terminal does on Ctrl-Z outside raw mode.
pub(super) fn stop_job() -> io::Result<()> {
    Ok(kill_current_process_group(Signal::TSTP)?)
}

/// What the loop draws on.
pub trait Canvas {
    /// Size in cells.
    fn size(&self) -> io::Result<Size>;
    fn draw(&mut self, app: &App) -> io::Result<()>;
    /// Gives the terminal back and stops the process. Where no shell could continue it (it is the session's
    /// first job), nothing happens.
    fn suspend(&mut self) -> io::Result<Suspended>;
    /// Takes the terminal, whatever state it is in: a stop by SIGSTOP could not give it back.
    fn resume(&mut self) -> io::Result<()>;
}

/// Whether the process was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    Yes,
    No,
}

/// The real terminal.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over. From now on it is restored on drop and on panic.
    pub fn open() -> io::Result<Self> {
        install_panic_hook();
        take()?;
        let writer = BufWriter::with_capacity(BUFFER, io::stdout());
        match Terminal::new(CrosstermBackend::new(writer)) {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }
}

impl Canvas for Screen {
    fn size(&self) -> io::Result<Size> {
        self.terminal.size()
    }

    fn draw(&mut self, app: &App) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        in_dashboard(|| self.terminal.draw(|frame| view::draw(frame, app)).map(drop))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    fn suspend(&mut self) -> io::Result<Suspended> {
        if getpgrp() == getsid(None)? {
            return Ok(Suspended::No);
        }
        restore();
        kill_process(getpid(), Signal::STOP)?;
        Ok(Suspended::Yes)
    }

    fn resume(&mut self) -> io::Result<()> {
        // The shell has changed the terminal's mode since: what is in force is not what was set.
        disable_raw_mode()?;
        take()?;
        // Not `clear`: that asks where the cursor is, and the answer would go to the stream of events.
        let size = self.terminal.size()?;
        self.terminal.resize((Position::ORIGIN, size).into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    OPEN.store(true, Ordering::SeqCst);
    let taken = execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableMouseCapture,
        EnableBracketedPaste,
        SetTitle("CryptoStream"),
        crossterm::cursor::Hide
    );
    if taken.is_err() {
        restore();
    }
    taken
}

/// Gives the terminal back as it was: cooked, with its cursor, without mouse capture and paste mode. Does
/// nothing when it is not taken, so it may be called from anywhere, any number of times.
pub fn restore() {
    if !OPEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // When the terminal is gone, there is nothing to restore.
    let mut out = io::stdout();
    let _ = execute!(
        out,
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableMouseCapture,
        LeaveAlternateScreen,
        Show
    );
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// Runs code of the dashboard, so that a panic in it is known as such.
pub(super) fn in_dashboard<T>(run: impl FnOnce() -> T) -> T {
    IN_DASHBOARD.set(true);
    let result = run();
    IN_DASHBOARD.set(false);
    result
}

/// A panic of the dashboard or of the main thread ends the program: its message must land on a restored
/// terminal. The supervisor recovers from a panic of a stage: its message goes to the log, not over the
/// screen.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ends = IN_DASHBOARD.get() || thread::current().name() == Some("main");
            if OPEN.load(Ordering::SeqCst) && !ends {
                tracing::error!(panic = %info, "a task panicked");
                return;
            }
            restore();
            previous(info);
        }));
    });
}
