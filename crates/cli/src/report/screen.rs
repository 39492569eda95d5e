//! A screen that is redrawn within the window, for `status --follow`.

use super::text::{Line, Tone};
use super::words::status::Order;
use super::{Printer, Table, labelled};
use crate::error::CommandError;
use crate::verdict::Verdict;

/// The alternate screen of a terminal, until dropped. Then the previous content is restored.
pub struct Screen<'p> {
    printer: &'p Printer,
}

impl<'p> Screen<'p> {
    /// Takes over the screen, if there is one and the output is for people.
    #[must_use]
    pub fn new(printer: &'p Printer) -> Option<Self> {
        if printer.is_json() || printer.screen().is_none() {
            return None;
        }
        // Alternate screen, hidden cursor (xterm, "XTerm Control Sequences").
        printer.write_out("\u{1b}[?1049h\u{1b}[?25l");
        Some(Self { printer })
    }

    /// Draws a table and the problems. If the window is too small for all rows, those that need attention come first.
    pub fn draw(&self, table: &dyn Fn(Order) -> Table, verdict: &Verdict, pm2_runs: bool) {
        let Some((columns, rows)) = self.printer.screen() else {
            return;
        };
        let mut messages = Vec::new();
        if !pm2_runs {
            messages.push(Line::from("PM2 is not running"));
        }
        messages.extend(self.printer.problem_lines(verdict.problems()));
        messages.push(Line::from(verdict.summary()));
        let messages: Vec<Line> = messages
            .iter()
            .flat_map(|line| line.wrap(columns))
            .collect();
        // Reserve the title line, and at least half of the window for the table.
        let room = rows.saturating_sub(1);
        let for_messages = messages.len().min(room / 2);
        let for_table = room - for_messages;
        let mut lines = self.printer.draw_table(&table(Order::ByName));
        if lines.len() > for_table {
            lines = self.printer.draw_table(&table(Order::AttentionFirst));
            let hidden = lines.len() - for_table.saturating_sub(1);
            lines.truncate(for_table.saturating_sub(1));
            lines.push(format!("... {hidden} more lines"));
        }
        let color = self.printer.out.has_color;
        // The summary is the last message, and must stay visible.
        let from = messages.len() - for_messages;
        lines.extend(messages[from..].iter().map(|line| line.paint(color)));
        self.show(lines);
    }

    /// Draws the error that prevents showing anything.
    pub fn draw_error(&self, error: &CommandError) {
        let Some((columns, _)) = self.printer.screen() else {
            return;
        };
        let mut lines = vec![labelled(Tone::Bad, "error:", reconcile::chain(error))];
        let hint = error.hint();
        lines.extend(hint.map(|hint| labelled(Tone::Strong, "hint:", hint)));
        let color = self.printer.out.has_color;
        let lines = lines.iter().flat_map(|line| line.wrap(columns));
        self.show(lines.map(|line| line.paint(color)).collect());
    }

    fn show(&self, lines: Vec<String>) {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let title = Line::default().with(Tone::Faint, format!("{now}  Ctrl-C ends"));
        let title = title.paint(self.printer.out.has_color);
        // Clear each line to its end and then the rest, without flicker.
        let mut text = "\u{1b}[H".to_owned();
        for (n, line) in std::iter::once(title).chain(lines).enumerate() {
            if n > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&line);
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        self.printer.write_out(&text);
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.printer.write_out("\u{1b}[?25h\u{1b}[?1049l");
    }
}
