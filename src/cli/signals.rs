//! The process's signals. SIGINT, SIGTERM and SIGHUP cancel; SIGQUIT restores the terminal and then has its
//! default effect. SIGHUP and SIGQUIT that were ignored at the start (`nohup`) stay ignored. SIGTSTP and
//! SIGCONT are handled by the dashboard.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::tui;

/// Some senders signal both the process and its group: signals within this time of the first count as one.
const SAME: Duration = Duration::from_millis(500);

/// A token that the first SIGINT, SIGTERM or SIGHUP cancels; the second exits the process at once, with code
/// 130.
pub(super) fn cancel_on_signal() -> anyhow::Result<CancellationToken> {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    if !is_ignored(Signal::HUP) {
        kinds.push(SignalKind::hangup());
    }
    let mut signals = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>()?;
    if !is_ignored(Signal::QUIT) {
        let mut quit = signal(SignalKind::quit())?;
        tokio::spawn(async move {
            quit.recv().await;
            tui::terminal::restore();
            // Ends the process by the signal itself, so that the system can dump a core.
            let _ = signal_hook::low_level::emulate_default_handler(Signal::QUIT.as_raw());
        });
    }
    let cancel = CancellationToken::new();
    let raised = cancel.clone();
    tokio::spawn(async move {
        let mut raised_at: Option<Instant> = None;
        loop {
            let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures::future::select_all(any).await;
            match raised_at {
                Some(at) if at.elapsed() < SAME => {}
                Some(_) => {
                    tui::terminal::restore();
                    tracing::warn!("second signal: ending at once");
                    std::process::exit(130);
                }
                None => {
                    raised_at = Some(Instant::now());
                    raised.cancel();
                }
            }
        }
    });
    Ok(cancel)
}

/// Whether this process inherited the signal as ignored. Only Linux reports it without unsafe code; elsewhere
/// no signal counts as ignored.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status) & (1 << (signal.as_raw() - 1)) != 0
}

/// The set of ignored signals in the text of `/proc/self/status`, signal 1 in the lowest bit.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_process_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), (1 << (Signal::HUP.as_raw() - 1)) | (1 << (Signal::PIPE.as_raw() - 1)));
        assert_eq!(ignored(""), 0);
    }
}
