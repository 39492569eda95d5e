//! Everything that is printed: the one module that writes to standard output and standard error.
//!
//! Data goes to standard output, everything else to standard error. A reader that goes away ends the output
//! quietly.

pub mod github;
pub mod json;
mod progress;
mod table;
pub mod words;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::args::{ColorChoice, Format, GlobalArgs, RendererChoice, VariantArgs};
use crate::definitions::Definitions;
use crate::environment::Environment;

pub use progress::StepProgress;
pub use table::Table;

/// Where and how to print.
#[derive(Debug, Clone)]
pub struct Printer {
    /// How data is printed.
    pub format: Format,
    /// Whether reasons are given in full.
    pub verbose: bool,
    /// Whether only errors and data are printed.
    pub quiet: bool,
    out_color: bool,
    err_color: bool,
    out_width: Option<usize>,
    err_width: Option<usize>,
    err_is_terminal: bool,
    /// Whether what is said begins with the time.
    timed: bool,
    hide_strings: bool,
    /// Whether something could not be written.
    unheard: Arc<AtomicBool>,
    /// Flags and IDs with which a command has to be given again.
    again: String,
}

/// What a piece of text means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something is added, or well.
    Good,
    /// Something changes, or needs a look.
    Notice,
    /// Something is taken away, or wrong.
    Bad,
    /// Of less weight.
    Faint,
    /// A heading.
    Strong,
    /// Nothing in particular.
    Plain,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Notice => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Plain => Style::new(),
        }
    }

    /// The text in this tone's colour.
    #[must_use]
    pub fn paint(self, text: &str, color: bool) -> String {
        if !color || text.is_empty() || self == Self::Plain {
            return text.to_owned();
        }
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

impl Printer {
    /// A printer as the arguments and the terminal say.
    #[must_use]
    pub fn new(global: &GlobalArgs, environment: &Environment) -> Self {
        let out_terminal = std::io::stdout().is_terminal();
        let err_terminal = std::io::stderr().is_terminal();
        let color = |terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && environment.var("NO_COLOR").is_none(),
        };
        let width = width_of(std::io::stdout());
        Self {
            format: global.format,
            verbose: global.verbose,
            quiet: global.quiet,
            out_color: color(out_terminal),
            err_color: color(err_terminal),
            out_width: if out_terminal {
                width.or(Some(80))
            } else {
                None
            },
            err_width: width_of(std::io::stderr()),
            err_is_terminal: err_terminal,
            timed: false,
            hide_strings: false,
            unheard: Arc::default(),
            again: again(global),
        }
    }

    /// Writes. A reader that went away wants to hear no more; what is being done is done all the same, and the exit
    /// status says how it went.
    fn write(&self, stream: &mut dyn Write, text: &str) {
        let written = stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush());
        if written.is_err() {
            self.unheard.store(true, Ordering::Relaxed);
        }
    }

    /// Whether what is said went to a terminal that has been closed.
    #[must_use]
    pub fn lost_its_terminal(&self) -> bool {
        self.err_is_terminal && rustix::termios::tcgetwinsize(std::io::stderr()).is_err()
    }

    /// Whether a reader has gone away: what only shows something may end.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.unheard.load(Ordering::Relaxed)
    }

    /// The same printer for a command about these daemons whose output others may keep: excerpts of definitions show no
    /// strings.
    #[must_use]
    pub fn for_work(&self, ids: &[String]) -> Self {
        let mut printer = self.clone();
        printer.hide_strings = true;
        for id in ids {
            printer.again.push(' ');
            printer.again.push_str(&quoted(id));
        }
        printer
    }

    /// The same printer for a command with these flags: another one would want something else of every daemon.
    #[must_use]
    pub fn for_variant(&self, variant: &VariantArgs) -> Self {
        let mut printer = self.clone();
        let renderer = variant.renderer.to_possible_value();
        let renderer = renderer.filter(|_| variant.renderer != RendererChoice::default());
        for (flag, value) in [
            ("--mode", variant.mode.as_deref()),
            ("--env", variant.env.as_deref()),
            ("--renderer", renderer.as_ref().map(|it| it.get_name())),
        ] {
            if let Some(value) = value {
                printer
                    .again
                    .push_str(&format!(" {flag} {}", quoted(value)));
            }
        }
        printer
    }

    /// The same printer for work without end: what is said, and each step, begins with the time.
    #[must_use]
    pub fn timed(&self) -> Self {
        Self {
            timed: true,
            ..self.clone()
        }
    }

    /// The time, and the day where it is not somebody at a terminal who reads it at once.
    fn clock(&self, terminal: bool, color: bool) -> String {
        if !self.timed {
            return String::new();
        }
        let format = if terminal {
            "%H:%M:%S "
        } else {
            "%Y-%m-%d %H:%M:%S "
        };
        Tone::Faint.paint(&jiff::Zoned::now().strftime(format).to_string(), color)
    }

    /// A command line to give, with the flags and IDs of this one.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        format!("pm2-sync {command}{}", self.again)
    }

    /// Whether data is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether findings are annotations of GitHub Actions.
    #[must_use]
    pub fn is_github(&self) -> bool {
        self.format == Format::Github
    }

    /// Whether data is coloured.
    #[must_use]
    pub fn out_color(&self) -> bool {
        self.out_color
    }

    /// Prints data.
    pub fn data(&self, text: &str) {
        self.write(&mut std::io::stdout().lock(), text);
    }

    /// Prints data that is written piece by piece.
    pub fn data_of(&self, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
        let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let _ = write(&mut out).and_then(|()| out.flush());
    }

    /// Empties the screen, where there is one, for what is shown anew.
    pub fn clear(&self) {
        if self.out_width.is_some() && !self.is_json() {
            self.data("\u{1b}[H\u{1b}[2J");
        }
    }

    /// Prints data as one JSON object on one line.
    pub fn json(&self, value: &serde_json::Value) {
        self.data(&format!("{value}\n"));
    }

    /// Prints a table of data.
    pub fn table(&self, table: &Table) {
        self.data(&table.draw(self.out_width, self.out_color));
    }

    /// Says something that is not data.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says something that must not be missed.
    pub fn say(&self, text: &str) {
        let time = self.clock(self.err_is_terminal, self.err_color);
        self.write(&mut std::io::stderr().lock(), &format!("{time}{text}\n"));
    }

    /// Says a warning.
    pub fn warn(&self, text: &str) {
        let word = Tone::Notice.paint("warning:", self.err_color);
        self.say(&format!("{word} {text}"));
    }

    /// Says what went wrong, with all its causes, and what to do.
    pub fn error(&self, error: &dyn std::error::Error, hint: Option<&str>) {
        let word = Tone::Bad.paint("error:", self.err_color);
        self.say(&format!("{word} {}", chain(error)));
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    /// Says what to do.
    pub fn hint(&self, text: &str) {
        let word = Tone::Strong.paint("hint:", self.err_color);
        self.say(&format!("{word} {text}"));
    }

    /// Draws what was found about definitions; warnings, but for a renderer's own, only when `warnings`.
    pub fn diagnostics(&self, definitions: &Definitions, warnings: bool) {
        for definition in definitions.daemons.values() {
            let source = definition.source.as_deref().unwrap_or(b"");
            for diagnostic in &definition.diagnostics {
                let is_renderers_own = diagnostic.level == daemon_model::Level::Render;
                if diagnostic.is_error() || warnings || is_renderers_own {
                    self.say(&self.draw(diagnostic, definition.name.as_str(), source));
                }
            }
        }
        self.strays(&definitions.strays);
    }

    /// Says what is broken without belonging to a daemon.
    pub fn strays(&self, strays: &[crate::definitions::Stray]) {
        for stray in strays {
            let word = Tone::Bad.paint("error:", self.err_color);
            self.say(&format!("{word} {}: {}", stray.path, stray.message));
        }
    }

    /// Asks a person at a terminal; whoever is not there says no.
    #[must_use]
    pub fn confirms(&self, question: &str, should_stop: &dyn Fn() -> bool) -> bool {
        if !self.err_is_terminal || !std::io::stdin().is_terminal() {
            return false;
        }
        self.write(&mut std::io::stderr().lock(), &format!("{question} [y/N] "));
        let (sender, answers) = std::sync::mpsc::channel();
        let ask = move || {
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            // Nobody waits for the answer any more: the program is ending.
            let _ = sender.send(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"));
        };
        let asked = std::thread::Builder::new()
            .name("pm2-sync prompt".to_owned())
            .spawn(ask);
        while asked.is_ok() && !should_stop() {
            if let Ok(answer) = answers.recv_timeout(std::time::Duration::from_millis(50)) {
                return answer;
            }
        }
        false
    }

    /// One diagnostic as text.
    #[must_use]
    pub fn draw(&self, diagnostic: &daemon_model::Diagnostic, file: &str, source: &[u8]) -> String {
        // A line that the terminal breaks would take its mark from under it. What is no terminal has no width.
        let style = edn_render::DrawStyle {
            color: self.err_color,
            width: self.err_width.map(|width| width.saturating_sub(FRAME)),
            hide_strings: self.hide_strings,
        };
        edn_render::draw(diagnostic, file, source, style)
            .trim_end()
            .to_owned()
    }

    /// A display of steps as they begin and end.
    #[must_use]
    pub fn steps(&self, show_values: bool) -> StepProgress {
        StepProgress::new(
            self.clone(),
            self.err_is_terminal && !self.quiet && !self.is_json(),
            show_values,
        )
    }
}

/// How many columns the number of a line and the dots before and after it take at most, but for enormous files.
const FRAME: usize = 14;

fn width_of(stream: impl std::os::fd::AsFd) -> Option<usize> {
    rustix::termios::tcgetwinsize(stream)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 20)
}

/// The flags without which a command would be about something else.
fn again(global: &GlobalArgs) -> String {
    let flags = [
        ("--workspace", &global.workspace),
        ("--pm2-home", &global.pm2_home),
        ("--pm2", &global.pm2),
    ];
    flags
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" {flag} {}", quoted(value.as_ref()?.as_str()))))
        .collect()
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// An error and its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A transparent wrapper shows its cause's own words.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use daemon_model::{Diagnostic, Level, Severity, Span};

    use super::*;

    #[test]
    fn no_line_of_source_is_wider_than_the_terminal() {
        let mut printer = Printer {
            format: Format::Text,
            verbose: false,
            quiet: false,
            out_color: false,
            err_color: false,
            out_width: None,
            err_width: Some(60),
            err_is_terminal: true,
            timed: false,
            hide_strings: false,
            unheard: Arc::default(),
            again: String::new(),
        };
        let source = format!(
            "{}{} 08 {}",
            "\n".repeat(9_999),
            "x".repeat(70),
            "y".repeat(70)
        );
        let mut found = Diagnostic::new(Severity::Error, Level::Render, "no");
        let at = source.find("08").unwrap();
        found.span = Some(Span::new(at, at + 2));
        let drawn = printer.draw(&found, "x", source.as_bytes());
        let widest = drawn.lines().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(60), "{drawn}");
        printer.err_width = None;
        let drawn = printer.draw(&found, "x", source.as_bytes());
        assert!(drawn.lines().any(|line| line.len() > 100), "{drawn}");
    }
}
