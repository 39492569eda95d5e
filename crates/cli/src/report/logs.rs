//! Lines of logs, each with its app's name.

use std::collections::BTreeMap;

use reconcile::{LogFile, LogLine, LogStream};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::json::LogLineOutput;
use super::text::{Line, Tone, escape};
use super::{Printer, json, words};

/// The widest column of names.
const MOST_NAME: usize = 24;

/// Prints log lines. Names have their own column, and each app has its own colour; `!` instead of `|` marks standard error.
pub struct LogView<'p> {
    printer: &'p Printer,
    /// The apps' names and colours, by daemon and app.
    apps: BTreeMap<(String, String), (String, Tone)>,
    width: usize,
}

impl<'p> LogView<'p> {
    /// A view without apps.
    #[must_use]
    pub fn new(printer: &'p Printer) -> Self {
        Self {
            printer,
            apps: BTreeMap::new(),
            width: 0,
        }
    }

    /// Assigns names and colours to apps of these files that have none yet.
    pub fn name(&mut self, files: &[LogFile]) {
        for file in files {
            let key = (file.daemon.to_string(), file.app.clone());
            let tone = Tone::Name(self.apps.len());
            let is_taken = self
                .apps
                .keys()
                .any(|other| other.1 == key.1 && other.0 != key.0);
            let name = match is_taken {
                true => words::name(&key.0, &key.1),
                false => key.1.clone(),
            };
            self.apps.entry(key).or_insert((name, tone));
            self.width = self.width.max(self.label(file).0.width());
        }
        let most = self.printer.width().map_or(MOST_NAME, |width| width / 3);
        self.width = self.width.min(most).min(MOST_NAME);
    }

    /// Prints a line.
    pub fn print(&self, line: &LogLine) {
        if self.printer.is_json() {
            self.printer
                .json_text(&json::event(&LogLineOutput::new(line)));
            return;
        }
        let (label, tone) = self.label(&line.file);
        let label = shortened(&label, self.width);
        let padding = " ".repeat(self.width.saturating_sub(label.width()));
        let bar = |first: &str| match line.file.stream {
            LogStream::Out => Line::from(first).with(Tone::Faint, "| "),
            LogStream::Err => Line::from(first).with(Tone::Bad, "! "),
        };
        let begin = |tone, text: &str, padding: &str| {
            let name = Line::default().with(tone, text);
            name.joined(&bar(&format!("{padding} ")))
        };
        let first = begin(tone, &label, &padding);
        let next = begin(Tone::Plain, "", &" ".repeat(self.width));
        let text = Line::from(&line.text);
        let room = self.printer.width();
        let room = room.map(|width| width.saturating_sub(first.width()).max(1));
        let parts = room.map_or_else(|| vec![text.clone()], |room| text.wrap(room));
        for (n, part) in parts.iter().enumerate() {
            let begin = if n == 0 { &first } else { &next };
            self.printer.line(&begin.clone().joined(part));
        }
    }

    /// The prefix of a file's lines.
    fn label(&self, file: &LogFile) -> (String, Tone) {
        let key = (file.daemon.to_string(), file.app.clone());
        let known = self.apps.get(&key);
        let (name, tone) = known.map_or((file.app.as_str(), Tone::Plain), |(name, tone)| {
            (name.as_str(), *tone)
        });
        let name = escape(name);
        match file.pm_id {
            Some(pm_id) => (format!("{name}:{pm_id}"), tone),
            None => (name.into_owned(), tone),
        }
    }
}

/// A label with at most this many columns. The end is kept because it distinguishes processes.
fn shortened(label: &str, width: usize) -> String {
    if label.width() <= width {
        return label.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let end: Vec<char> = label.chars().rev().take_while(fits).collect();
    std::iter::once('…').chain(end.into_iter().rev()).collect()
}
