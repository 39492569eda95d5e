//! What standard output and standard error are connected to.

use reconcile::Environment;

use crate::args::ColorChoice;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) is_terminal: bool,
    pub(super) has_color: bool,
    /// Whether the cursor can be moved.
    pub(super) has_cursor: bool,
}

impl Stream {
    pub(super) fn new(is_terminal: bool, choice: ColorChoice, environment: &Environment) -> Self {
        let is_dumb = environment.var("TERM") == Some("dumb");
        Self {
            is_terminal,
            has_color: match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => {
                    is_terminal && !is_dumb && environment.var("NO_COLOR").is_none()
                }
            },
            has_cursor: is_terminal && !is_dumb,
        }
    }
}

/// Columns and rows of a terminal.
pub(super) fn size_of(stream: impl std::os::fd::AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    // A terminal that does not know its size reports 0.
    (columns > 20 && rows > 0).then_some((columns, rows))
}
