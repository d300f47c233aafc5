//! Keys: one table, [`KEYS`], holds for every key its context, action, label and help. Dispatch, footer and
//! help read it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where a binding applies. A key without a binding in [`KeyContext::Alerts`] or [`KeyContext::Logs`] falls
/// through to [`KeyContext::Main`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyContext {
    Main,
    Alerts,
    Logs,
    /// The find line is open; characters go into it.
    Find,
    Help,
}

impl KeyContext {
    /// Every context, in the order of the help.
    pub const ALL: [Self; 5] = [Self::Main, Self::Alerts, Self::Logs, Self::Find, Self::Help];

    pub const fn heading(self) -> &'static str {
        match self {
            Self::Main => "Everywhere",
            Self::Alerts => "In the alerts",
            Self::Logs => "In the logs",
            Self::Find => "While finding",
            Self::Help => "In this help",
        }
    }
}

/// What a key does; [`KEYS`] describes each for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    NextCoin,
    PreviousCoin,
    /// Selects the coin in the row of the digit, `0` being the tenth.
    NthCoin,
    Chart(ChartAction),
    Sort,
    ReverseSort,
    NextPane,
    PreviousPane,
    Expand,
    Pause,
    Theme,
    Zone,
    Logs,
    Help,
    Escape,
    Suspend,
    Quit,
    AlertsUp,
    AlertsDown,
    Log(LogAction),
    Find,
    FindAccept,
    FindCancel,
    FindErase,
    FindClear,
    FindPrevious,
    FindNext,
    HelpClose,
    HelpUp,
    HelpDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChartAction {
    CursorLeft,
    CursorRight,
    PanLeft,
    PanRight,
    ZoomIn,
    ZoomOut,
    Narrower,
    Wider,
    Reset,
    Live,
    Volume,
    Indicators,
}

/// The actions of tui-logger's widget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogAction {
    Up,
    Down,
    Less,
    More,
    CaptureLess,
    CaptureMore,
    PageUp,
    PageDown,
    Newest,
    Focus,
    Hide,
}

/// A key with Ctrl or without. Shift is part of the character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chord {
    pub code: KeyCode,
    pub ctrl: bool,
}

const fn key(code: KeyCode) -> Chord {
    Chord { code, ctrl: false }
}

const fn char(c: char) -> Chord {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Chord {
    Chord { code: KeyCode::Char(c), ctrl: true }
}

impl Chord {
    /// The chord of a key press; none with modifiers that no binding has (Alt, Super …).
    pub fn of(event: KeyEvent) -> Option<Self> {
        let other = event.modifiers.difference(KeyModifiers::SHIFT | KeyModifiers::CONTROL);
        let chord = Self { code: event.code, ctrl: event.modifiers.contains(KeyModifiers::CONTROL) };
        other.is_empty().then_some(chord)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Binding {
    pub action: Action,
    pub context: KeyContext,
    pub chords: &'static [Chord],
    pub label: &'static str,
    pub help: &'static str,
    /// Keys and a word for the footer; none: only in the help.
    pub hint: Option<(&'static str, &'static str)>,
}

const fn bind(
    context: KeyContext,
    action: Action,
    chords: &'static [Chord],
    label: &'static str,
    help: &'static str,
) -> Binding {
    Binding { action, context, chords, label, help, hint: None }
}

impl Binding {
    const fn hint(self, keys: &'static str, word: &'static str) -> Self {
        Self { hint: Some((keys, word)), ..self }
    }
}

/// All keys. The footer shows hints in this order; where one hint is for two bindings, the first has it.
pub const KEYS: &[Binding] = {
    use Action as A;
    use ChartAction as C;
    use KeyContext::{Alerts, Find, Help, Logs, Main};
    use LogAction as L;
    &[
        bind(Main, A::NextCoin, &[char('j'), key(KeyCode::Down)], "j ↓", "next coin").hint("j/k", "coin"),
        bind(Main, A::PreviousCoin, &[char('k'), key(KeyCode::Up)], "k ↑", "previous coin"),
        bind(
            Main,
            A::NthCoin,
            &[
                char('1'),
                char('2'),
                char('3'),
                char('4'),
                char('5'),
                char('6'),
                char('7'),
                char('8'),
                char('9'),
                char('0'),
            ],
            "1-9 0",
            "coin in that row",
        ),
        bind(Main, A::Chart(C::Narrower), &[char('[')], "[", "narrower interval").hint("[ ]", "interval"),
        bind(Main, A::Chart(C::Wider), &[char(']')], "]", "wider interval"),
        bind(
            Main,
            A::Chart(C::CursorLeft),
            &[char('h'), key(KeyCode::Left)],
            "h ←",
            "crosshair to the candle before",
        )
        .hint("h/l", "crosshair"),
        bind(
            Main,
            A::Chart(C::CursorRight),
            &[char('l'), key(KeyCode::Right)],
            "l →",
            "crosshair to the candle after",
        ),
        bind(
            Main,
            A::Chart(C::PanLeft),
            &[char('H'), key(KeyCode::PageUp)],
            "H PgUp",
            "pan to older candles",
        )
        .hint("H/L", "pan"),
        bind(
            Main,
            A::Chart(C::PanRight),
            &[char('L'), key(KeyCode::PageDown)],
            "L PgDn",
            "pan to newer candles",
        ),
        bind(Main, A::Chart(C::ZoomIn), &[char('+'), char('=')], "+", "zoom in").hint("+/-", "zoom"),
        bind(Main, A::Chart(C::ZoomOut), &[char('-'), char('_')], "-", "zoom out"),
        bind(Main, A::Chart(C::Live), &[key(KeyCode::End)], "End", "follow the newest candle")
            .hint("End", "live"),
        bind(Main, A::Chart(C::Reset), &[key(KeyCode::Home)], "Home", "reset zoom, pan and crosshair"),
        bind(Main, A::Find, &[char('/')], "/", "find a coin by id or symbol").hint("/", "find"),
        bind(Main, A::Sort, &[char('s')], "s", "sort by the next column").hint("s", "sort"),
        bind(Main, A::ReverseSort, &[char('S')], "S", "reverse the order"),
        bind(Main, A::Chart(C::Volume), &[char('v')], "v", "volume on or off").hint("v", "volume"),
        bind(Main, A::Chart(C::Indicators), &[char('i')], "i", "indicators: SMA, EMA, both, none")
            .hint("i", "indicators"),
        bind(Main, A::NextPane, &[key(KeyCode::Tab)], "Tab", "focus the next pane").hint("Tab", "pane"),
        bind(Main, A::PreviousPane, &[key(KeyCode::BackTab)], "Shift-Tab", "focus the pane before"),
        bind(
            Main,
            A::Expand,
            &[char('z'), key(KeyCode::Enter)],
            "z Enter",
            "focused pane over the whole screen",
        )
        .hint("z", "expand"),
        bind(Main, A::Pause, &[char('p'), char(' ')], "p Space", "freeze what is shown").hint("p", "pause"),
        bind(Main, A::Theme, &[char('T')], "T", "next theme"),
        bind(Main, A::Zone, &[char('u')], "u", "UTC or local time"),
        bind(Main, A::Logs, &[char('`')], "`", "logs on or off"),
        bind(Main, A::Escape, &[key(KeyCode::Esc)], "Esc", "leave filter, crosshair, full screen"),
        bind(Main, A::Help, &[char('?'), key(KeyCode::F(1))], "? F1", "this help").hint("?", "help"),
        bind(Main, A::Suspend, &[ctrl('z')], "Ctrl-Z", "suspend to the shell"),
        bind(Main, A::Quit, &[char('q'), ctrl('c')], "q Ctrl-C", "quit").hint("q", "quit"),
        bind(Alerts, A::AlertsUp, &[char('k'), key(KeyCode::Up)], "k ↑", "newer alerts"),
        bind(Alerts, A::AlertsDown, &[char('j'), key(KeyCode::Down)], "j ↓", "older alerts")
            .hint("j/k", "scroll"),
        bind(Logs, A::Log(L::Up), &[key(KeyCode::Up)], "↑", "target above"),
        bind(Logs, A::Log(L::Down), &[key(KeyCode::Down)], "↓", "target below"),
        bind(Logs, A::Log(L::Less), &[key(KeyCode::Left)], "←", "show less of the target"),
        bind(Logs, A::Log(L::More), &[key(KeyCode::Right)], "→", "show more of the target"),
        bind(Logs, A::Log(L::CaptureLess), &[char('-')], "-", "capture less of the target"),
        bind(Logs, A::Log(L::CaptureMore), &[char('+')], "+", "capture more of the target"),
        bind(Logs, A::Log(L::PageUp), &[key(KeyCode::PageUp)], "PgUp", "older lines")
            .hint("PgUp/PgDn", "scroll"),
        bind(Logs, A::Log(L::PageDown), &[key(KeyCode::PageDown)], "PgDn", "newer lines"),
        bind(Logs, A::Log(L::Newest), &[key(KeyCode::Esc)], "Esc", "newest lines"),
        bind(Logs, A::Log(L::Focus), &[char('f')], "f", "only the selected target, or all")
            .hint("f", "one target"),
        bind(Logs, A::Log(L::Hide), &[char(' ')], "Space", "hide or show targets that are off"),
        bind(Find, A::FindAccept, &[key(KeyCode::Enter)], "Enter", "keep the filter").hint("Enter", "keep"),
        bind(Find, A::FindCancel, &[key(KeyCode::Esc)], "Esc", "drop the filter").hint("Esc", "cancel"),
        bind(Find, A::FindErase, &[key(KeyCode::Backspace)], "Backspace", "delete a character"),
        bind(Find, A::FindClear, &[ctrl('u')], "Ctrl-U", "empty the line"),
        bind(Find, A::FindPrevious, &[key(KeyCode::Up), key(KeyCode::BackTab)], "↑", "match above"),
        bind(Find, A::FindNext, &[key(KeyCode::Down), key(KeyCode::Tab)], "↓", "match below")
            .hint("↑/↓", "match"),
        bind(Find, A::Quit, &[ctrl('c')], "Ctrl-C", "quit"),
        bind(
            Help,
            A::HelpClose,
            &[key(KeyCode::Esc), char('?'), char('q'), key(KeyCode::F(1)), key(KeyCode::Enter)],
            "Esc ? q",
            "close",
        )
        .hint("Esc", "close"),
        bind(Help, A::HelpUp, &[char('k'), key(KeyCode::Up)], "k ↑", "scroll up"),
        bind(Help, A::HelpDown, &[char('j'), key(KeyCode::Down)], "j ↓", "scroll down").hint("j/k", "scroll"),
        bind(Help, A::Quit, &[ctrl('c')], "Ctrl-C", "quit"),
    ]
};

/// The binding of a chord in a context; for alerts and logs else the one in [`KeyContext::Main`].
pub fn lookup(context: KeyContext, chord: Chord) -> Option<&'static Binding> {
    let within = |context| KEYS.iter().find(|b| b.context == context && b.chords.contains(&chord));
    within(context).or_else(|| {
        if matches!(context, KeyContext::Alerts | KeyContext::Logs) { within(KeyContext::Main) } else { None }
    })
}

/// The footer's hints in a context; for alerts and logs followed by those of [`KeyContext::Main`].
pub fn hints(context: KeyContext) -> impl Iterator<Item = (&'static str, &'static str)> {
    let main = matches!(context, KeyContext::Alerts | KeyContext::Logs);
    let own = KEYS.iter().filter(move |b| b.context == context);
    let rest = KEYS
        .iter()
        .filter(move |b| main && b.context == KeyContext::Main && !matches!(b.action, Action::NextCoin));
    own.chain(rest).filter_map(|b| b.hint)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_chord_is_bound_once_in_a_context() {
        let mut seen = HashSet::new();
        for binding in KEYS {
            assert!(!binding.chords.is_empty(), "{binding:?}");
            for chord in binding.chords {
                assert!(seen.insert((binding.context, *chord)), "{chord:?} twice in {:?}", binding.context);
            }
        }
    }

    #[test]
    fn every_chord_finds_its_binding() {
        for binding in KEYS {
            for chord in binding.chords {
                assert_eq!(lookup(binding.context, *chord).map(|b| b.action), Some(binding.action));
            }
        }
    }

    #[test]
    fn panes_fall_through_to_the_main_keys_and_dialogs_do_not() {
        assert_eq!(lookup(KeyContext::Logs, char('q')).map(|b| b.action), Some(Action::Quit));
        assert_eq!(
            lookup(KeyContext::Logs, char('+')).map(|b| b.action),
            Some(Action::Log(LogAction::CaptureMore))
        );
        assert!(lookup(KeyContext::Find, char('q')).is_none());
        assert!(lookup(KeyContext::Help, char('z')).is_none());
    }

    #[test]
    fn ctrl_c_quits_in_every_context() {
        for context in KeyContext::ALL {
            let action = lookup(context, ctrl('c')).map(|b| b.action);
            assert_eq!(action, Some(Action::Quit), "{context:?}");
        }
    }

    #[test]
    fn keys_with_alt_have_no_chord() {
        assert!(Chord::of(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT)).is_none());
        assert_eq!(Chord::of(KeyEvent::new(KeyCode::Char('S'), KeyModifiers::SHIFT)), Some(char('S')));
    }
}
