//! The terminal: taken over on [`Screen::open`], given back whatever happens: on drop, on panic, on
//! suspension.

use std::io::{self, BufWriter, Stdout, Write};
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
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Size};

use super::app::App;
use super::view;

/// A whole frame fits, so that it reaches the terminal in one write.
const BUFFER: usize = 1 << 17;

/// Whether the terminal is ours: then it must be given back, by whoever comes first.
static OPEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is inside the dashboard's own code.
    static OURS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What the loop draws on.
pub trait Canvas {
    /// Size in cells.
    ///
    /// # Errors
    /// When the terminal does not say.
    fn size(&self) -> io::Result<Size>;
    /// Shows the state.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn draw(&mut self, app: &App) -> io::Result<()>;
    /// Gives the terminal back, stops the process, and takes the terminal again when it goes on.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    fn suspend(&mut self) -> io::Result<()>;
}

/// The real terminal.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over. From now on it is restored on drop and on panic.
    ///
    /// # Errors
    /// When there is no terminal, or it cannot be put into raw mode.
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
        ours(|| self.terminal.draw(|frame| view::draw(frame, app)).map(drop))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    fn suspend(&mut self) -> io::Result<()> {
        restore();
        #[cfg(unix)]
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP)?;
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
/// nothing when it is not ours, so it may be called from anywhere, any number of times.
pub fn restore() {
    if !OPEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // There is nobody to tell when the terminal is gone.
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

/// Runs the dashboard's own code, so that a panic in it is known as such.
pub(super) fn ours<T>(run: impl FnOnce() -> T) -> T {
    OURS.set(true);
    let result = run();
    OURS.set(false);
    result
}

/// A panic of the dashboard or of the main thread ends the program: its words must land on a restored
/// terminal. A panic of a stage is the supervisor's affair and must not tear the screen: its words go to the
/// log.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = OURS.get() || thread::current().name() == Some("main");
            if OPEN.load(Ordering::SeqCst) && !ours {
                tracing::error!(panic = %info, "a task panicked");
                return;
            }
            restore();
            previous(info);
        }));
    });
}
