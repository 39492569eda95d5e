//! All output. No other module writes to standard output or standard error.
//!
//! Data goes to standard output, everything else to standard error. If the reader goes away, output ends quietly; if output is lost
//! for another reason (a full disk), the command fails.

mod findings;
pub mod github;
pub mod json;
mod logs;
mod measures;
mod progress;
mod prompt;
mod screen;
mod stream;
mod table;
pub mod text;
mod usage;
mod watch;
pub mod words;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use clap::Parser;
use indicatif::MultiProgress;

use crate::args::{Cli, Command, Format};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::verdict::{Problem, Verdict};
use json::{ErrorOutput, Output, WatchEvent, WatchOutput};
use reconcile::Environment;
use text::{Line, quoted};

use findings::Values;
use stream::{Stream, size_of};

pub use findings::Which;
pub use logs::LogView;
pub use measures::Measures;
pub use progress::StepProgress;
pub use screen::Screen;
pub use table::Table;
pub use text::Tone;
pub use watch::WatchReporter;

/// The assumed width of a terminal that does not report it.
const USUAL_WIDTH: usize = 80;

/// Where and how to print.
#[derive(Debug, Clone)]
pub struct Printer {
    /// The command's name, for its output.
    command: &'static str,
    format: Format,
    /// Whether to print reasons in full.
    pub verbose: bool,
    quiet: bool,
    out: Stream,
    err: Stream,
    /// Whether each line starts with the time, for commands that run until stopped.
    is_timed: bool,
    /// Whether the command may ask on a terminal.
    can_ask: bool,
    values: Values,
    /// Flags and IDs of this command that suggested commands repeat.
    repeat: Repeat,
    shared: Arc<Shared>,
}

/// Words of the command line, each with a leading space.
#[derive(Debug, Clone, Default)]
struct Repeat {
    global: String,
    ids: String,
    variant: String,
}

/// State shared by all clones of a printer.
#[derive(Debug, Default)]
struct Shared {
    /// Why data could not be written.
    lost: Mutex<Option<std::io::Error>>,
    /// Whether the reader has gone away.
    is_closed: AtomicBool,
    /// Whether a value was hidden and the user was told how to see it.
    said_hidden: AtomicBool,
    steps_under_way: AtomicUsize,
    /// Spinners drawn below the printed lines.
    spinners: OnceLock<MultiProgress>,
}

impl Printer {
    /// A printer configured by the arguments and the terminal.
    #[must_use]
    pub fn new(cli: &Cli, environment: &Environment) -> Self {
        let global = &cli.global;
        let mut flags: Vec<String> = Vec::new();
        for (flag, value) in [
            ("--workspace", &global.workspace),
            ("--pm2-home", &global.pm2_home),
            ("--pm2", &global.pm2),
        ] {
            if let Some(value) = value {
                flags.extend([flag.to_owned(), value.to_string()]);
            }
        }
        let (ids, variant) = cli.command.repeated();
        let words = |words: &[String]| -> String {
            let words = words.iter();
            words.map(|it| format!(" {}", quoted(it))).collect()
        };
        let stream = |is_terminal| Stream::new(is_terminal, global.color, environment);
        Self {
            command: cli.command.name(),
            format: global.format(),
            verbose: global.verbose,
            quiet: global.quiet,
            out: stream(std::io::stdout().is_terminal()),
            err: stream(std::io::stderr().is_terminal()),
            is_timed: cli.command.is_endless(),
            can_ask: matches!(cli.command, Command::Sync(_) | Command::Down(_)),
            values: if cli.command.shows_values() {
                Values::Shown
            } else if cli.command.is_about_files() && std::io::stderr().is_terminal() {
                Values::InExcerpts
            } else {
                Values::Hidden
            },
            repeat: Repeat {
                global: words(&flags),
                ids: words(&ids),
                variant: words(&variant),
            },
            shared: Arc::default(),
        }
    }

    /// Writes data. If it cannot be written, the command continues.
    fn write_out(&self, text: &str) {
        let written = self.beside_spinners(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        });
        self.note_written(written);
    }

    fn note_written(&self, written: std::io::Result<()>) {
        let Err(error) = written else { return };
        if error.kind() == ErrorKind::BrokenPipe {
            self.shared.is_closed.store(true, Ordering::Relaxed);
        } else {
            let lost = self.shared.lost.lock();
            lost.unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
        }
    }

    fn write_err(&self, text: &str) {
        let written = self.beside_spinners(|| std::io::stderr().lock().write_all(text.as_bytes()));
        if written.is_err() {
            self.shared.is_closed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes without damaging the spinners. The stream is locked only inside of `write`: the drawing thread needs it, too.
    fn beside_spinners<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.shared.spinners.get() {
            Some(spinners) => spinners.suspend(write),
            None => write(),
        }
    }

    /// Whether messages went to a terminal that has been closed.
    #[must_use]
    pub fn lost_its_terminal(&self) -> bool {
        self.err.is_terminal && rustix::termios::tcgetwinsize(std::io::stderr()).is_err()
    }

    /// Whether a reader has gone away, so that a command that only prints may end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let lost = self.shared.lost.lock();
        self.shared.is_closed.load(Ordering::Relaxed)
            || lost.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends the command: data that could not be written makes it fail.
    #[must_use]
    pub fn finish(&self, exit: Exit) -> ExitCode {
        let lost = self.shared.lost.lock();
        let lost = lost.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(source) = lost {
            let error = CommandError::Output(source);
            self.error(&error);
            return exit.max(error.exit()).into();
        }
        exit.into()
    }

    /// The time, with the date if the stream is not a terminal.
    fn clock(&self, stream: Stream) -> Line {
        if !self.is_timed {
            return Line::default();
        }
        let format = match stream.is_terminal {
            true => "%H:%M:%S ",
            false => "%Y-%m-%d %H:%M:%S ",
        };
        let now = jiff::Zoned::now().strftime(format).to_string();
        Line::default().with(Tone::Faint, now)
    }

    /// A suggested command line with the flags and IDs of this one.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        let Repeat {
            global,
            ids,
            variant,
        } = &self.repeat;
        format!("pm2-sync {command}{global}{ids}{variant}")
    }

    /// A suggested command line that has its own IDs, with the flags of this one.
    #[must_use]
    pub fn command_for(&self, command: &str) -> String {
        let Repeat {
            global, variant, ..
        } = &self.repeat;
        format!("pm2-sync {command}{global}{variant}")
    }

    /// The command line that shows the logs of an app.
    #[must_use]
    pub fn logs_command(&self, app: &str) -> String {
        format!("pm2-sync logs {}{}", quoted(app), self.repeat.global)
    }

    /// Whether the output format is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether values of environment variables are shown.
    #[must_use]
    pub fn shows_values(&self) -> bool {
        self.values == Values::Shown
    }

    /// Whether findings are annotations of GitHub Actions.
    #[must_use]
    pub fn is_github(&self) -> bool {
        self.format == Format::Github
    }

    /// How many columns data may use; none without a terminal.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        self.out
            .is_terminal
            .then(|| size_of(std::io::stdout()).map_or(USUAL_WIDTH, |(columns, _)| columns))
    }

    /// How many columns messages may use.
    fn err_width(&self) -> Option<usize> {
        size_of(std::io::stderr()).map(|(columns, _)| columns)
    }

    /// The columns and rows of the screen, if data can be redrawn on it.
    #[must_use]
    pub fn screen(&self) -> Option<(usize, usize)> {
        self.out.has_cursor.then(|| size_of(std::io::stdout()))?
    }

    /// Prints JSON, in which strings are escaped.
    pub fn json_text(&self, text: &str) {
        self.write_out(text);
    }

    /// Prints data for another program unchanged.
    pub fn data(&self, data: &[u8]) {
        self.json_of(|out| out.write_all(data));
    }

    /// Prints JSON that is written piece by piece.
    pub fn json_of(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let written = write(&mut out).and_then(|()| out.flush());
        self.note_written(written);
    }

    /// Prints a line of data.
    pub fn line(&self, line: &Line) {
        let time = self.clock(self.out).paint(self.out.has_color);
        self.write_out(&format!("{time}{}\n", line.paint(self.out.has_color)));
    }

    /// Prints lines of data.
    pub fn lines(&self, text: &str) {
        text.lines().for_each(|line| self.line(&Line::from(line)));
    }

    /// Prints the result of a command as one JSON object.
    pub fn json(&self, output: &impl Output, exit: Exit) {
        self.write_out(&json::document(output, exit));
    }

    /// Prints an event of a watch.
    pub fn event(&self, event: WatchEvent) {
        self.write_out(&json::event(&WatchOutput::now(event)));
    }

    /// Prints a table of data.
    pub fn table(&self, table: &Table) {
        self.write_out(&table.draw(self.width(), self.out.has_color));
    }

    /// A table as lines, with the colours used for data.
    #[must_use]
    pub fn draw_table(&self, table: &Table) -> Vec<String> {
        let text = table.draw(self.width(), self.out.has_color);
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Prints a message that is not data.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.say(&Line::from(text));
        }
    }

    /// Prints a message that `--quiet` does not suppress.
    pub fn say(&self, line: &Line) {
        let time = self.clock(self.err);
        let width = self.err_width().filter(|_| self.err.is_terminal);
        let room = width.map(|width| width.saturating_sub(time.width()).max(1));
        let lines = room.map_or_else(|| vec![line.clone()], |room| line.wrap(room));
        let mut text = time.paint(self.err.has_color);
        for (n, line) in lines.iter().enumerate() {
            if n > 0 {
                text.push_str(&" ".repeat(time.width()));
            }
            text.push_str(&line.paint(self.err.has_color));
            text.push('\n');
        }
        self.write_err(&text);
    }

    /// Announces that the command ends after the steps in progress. Without any it ends at once, and prints nothing.
    pub fn interrupted(&self) {
        let steps = match self.shared.steps_under_way.load(Ordering::Relaxed) {
            0 => return,
            1 => "the current step".to_owned(),
            n => format!("the {n} current steps"),
        };
        self.say(&Line::from(format!(
            "interrupted: finishing {steps}; press Ctrl-C again to stop now"
        )));
    }

    /// Prints a warning.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.say(&labelled(Tone::Notice, "warning:", text));
    }

    /// Prints a hint.
    pub fn hint(&self, text: impl AsRef<str>) {
        self.say(&labelled(Tone::Strong, "hint:", text));
    }

    /// Prints an error with all its causes.
    pub fn error(&self, error: &dyn std::error::Error) {
        self.say(&labelled(Tone::Bad, "error:", reconcile::chain(error)));
    }

    /// Prints why a command failed and how to fix it; with JSON, on standard output too.
    pub fn failure(&self, error: &CommandError) {
        self.explain(error);
        if self.is_json() {
            let output = ErrorOutput::new(error, self);
            let exit = error.exit();
            self.write_out(&json::error_document(Some(self.command), &output, exit));
        }
    }

    /// Prints an error and how to fix it.
    pub fn explain(&self, error: &CommandError) {
        self.error(error);
        if let Some((file, text, diagnostics)) = error.settings() {
            self.settings_findings(diagnostics, file, text);
        }
        if let Some(hint) = error.hint() {
            self.hint(hint);
        }
    }

    /// Prints problems, excerpts of logs and advice, except problems that steps and definitions report themselves.
    pub fn problems<'p>(&self, problems: impl IntoIterator<Item = &'p Problem>) {
        for line in self.problem_lines(problems) {
            self.say(&line);
        }
    }

    fn problem_lines<'p>(&self, problems: impl IntoIterator<Item = &'p Problem>) -> Vec<Line> {
        let is_announced = |problem: &&Problem| problem.kind.is_announced();
        let mut lines = Vec::new();
        for problem in problems.into_iter().filter(is_announced) {
            lines.push(labelled(Tone::Notice, "warning:", &problem.message));
            lines.extend(words::log(problem, self).into_iter().map(Line::from));
            let advice = words::advice(problem, self);
            lines.extend(advice.map(|advice| labelled(Tone::Strong, "hint:", advice)));
        }
        lines
    }

    /// Prints the last line of a command, its summary.
    pub fn summary(&self, verdict: &Verdict) {
        self.note(verdict.summary());
    }

    /// A display of steps as they start and end.
    #[must_use]
    pub fn steps(&self) -> StepProgress<'_> {
        StepProgress::new(self)
    }

    /// Whether steps in progress are drawn.
    fn is_animated(&self) -> bool {
        self.err.has_cursor && !self.quiet && !self.is_json()
    }
}

/// A line that starts with a label.
fn labelled(tone: Tone, label: &str, text: impl AsRef<str>) -> Line {
    Line::default().with(tone, label).plain(" ").plain(text)
}

/// Prints candidates for shell completion. Write errors are ignored.
pub fn raw(data: &[u8]) {
    let _ = std::io::stdout().lock().write_all(data);
}

/// Prints an error in the arguments, or the requested help.
#[must_use]
pub fn usage(error: clap::Error) -> ExitCode {
    // The message repeats the arguments.
    let arguments = Environment::arguments().into_iter();
    let escaped = arguments.map(|it| OsString::from(text::escape(&it.to_string_lossy()).as_ref()));
    let error = Cli::try_parse_from(escaped).err().unwrap_or(error);
    let error = usage::with_real_name(error);
    let printed = error.print();
    if !error.use_stderr() {
        return match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let error = CommandError::Output(error);
                // Without a reader of messages either, only the exit status is left.
                let _ = writeln!(std::io::stderr(), "error: {}", reconcile::chain(&error));
                error.exit().into()
            }
            _ => Exit::Ok.into(),
        };
    }
    if wants_json() {
        let output = usage::output(&error);
        let text = json::error_document(None, &output, Exit::Usage);
        // Without a reader, only the exit status is left.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    Exit::Usage.into()
}

/// Whether invalid arguments ask for JSON.
fn wants_json() -> bool {
    let arguments = Environment::arguments();
    let options = || arguments.iter().take_while(|argument| *argument != "--");
    let values = options().zip(options().skip(1));
    options().any(|argument| argument == "--format=json" || argument == "--json")
        || values
            .into_iter()
            .any(|(option, value)| option == "--format" && value == "json")
}
