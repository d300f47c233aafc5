//! The terminal: put into the dashboard's modes by [`Screen::open`], restored on drop, on panic, and while the
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

/// Bytes; a whole frame fits, so that it reaches the terminal in one write.
const BUFFER: usize = 1 << 17;

/// Whether the terminal is in the dashboard's modes: the first call of [`restore`] restores it.
static OPEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread runs the dashboard.
    static IN_DASHBOARD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Why the dashboard cannot run.
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

/// Checks that there is a terminal that the dashboard can run on.
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
    // Stdin may be a recording: then keys are read from the controlling terminal.
    if !io::stdin().is_terminal() && File::open("/dev/tty").is_err() {
        return Err(NoDashboard::Stdin);
    }
    Ok(())
}

/// A signal of the shell's job control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSignal {
    Stop,
    Continue,
}

/// A stream of SIGTSTP and SIGCONT. From now on SIGTSTP does not stop the process by itself.
pub fn job_signals() -> io::Result<impl Stream<Item = JobSignal> + Unpin> {
    let listen = |number: Signal, meaning: JobSignal| -> io::Result<_> {
        let mut signals = signal(SignalKind::from_raw(number.as_raw()))?;
        Ok(poll_fn(move |context| signals.poll_recv(context).map(|got| got.map(|()| meaning))))
    };
    Ok(select(listen(Signal::TSTP, JobSignal::Stop)?, listen(Signal::CONT, JobSignal::Continue)?))
}

/// Sends SIGTSTP to the process group, as the terminal does on Ctrl-Z outside raw mode.
pub(super) fn stop_job() -> io::Result<()> {
    Ok(kill_current_process_group(Signal::TSTP)?)
}

/// What the loop draws on.
pub trait Canvas {
    /// Size in cells.
    fn size(&self) -> io::Result<Size>;
    fn draw(&mut self, app: &App) -> io::Result<()>;
    /// Restores the terminal and stops the process. Does nothing where no shell could continue the process
    /// because it leads its session.
    fn suspend(&mut self) -> io::Result<Suspended>;
    /// Takes the terminal over again, whatever state it is in: SIGSTOP cannot be handled, so the terminal was
    /// not restored before it.
    fn resume(&mut self) -> io::Result<()>;
}

/// Whether the process was stopped and not yet continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    Yes,
    No,
}

/// The terminal on stdout.
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
        // The shell has changed the modes since: crossterm would take raw mode as set already.
        disable_raw_mode()?;
        take()?;
        // Not `clear`: it queries the cursor's position, and the answer would arrive as an event.
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

/// Restores the terminal: cooked mode, visible cursor, no mouse capture, no bracketed paste. Does nothing when
/// it was not taken over, so it may be called from anywhere and repeatedly.
pub fn restore() {
    if !OPEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Errors are ignored: a terminal that is gone needs no restoring.
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

/// Runs code of the dashboard, marked so that the panic hook knows a panic in it.
pub(super) fn in_dashboard<T>(run: impl FnOnce() -> T) -> T {
    IN_DASHBOARD.set(true);
    let result = run();
    IN_DASHBOARD.set(false);
    result
}

/// A panic of the dashboard or of the main thread ends the program: the terminal is restored before the
/// message is printed. Other panics, which the supervisor handles, are logged and not printed over the screen.
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
