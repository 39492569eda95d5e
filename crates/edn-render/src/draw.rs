//! Draws diagnostics for people.
//!
//! Alternative that was tried: annotate-snippets 0.12. It draws the same for short lines, but prints a line of any length in full
//! if it has two marks, and treats a lone CR as part of a line.

use daemon_model::{Diagnostic, Severity, Span};
use unicode_width::UnicodeWidthChar;

use crate::findings::{BYTE_ORDER_MARK, Lines, line_around};
use crate::secrets::Redacted;

/// Drawing options.
#[derive(Debug, Clone, Copy, Default)]
pub struct DrawStyle {
    /// Whether to use terminal colours.
    pub color: bool,
    /// The most columns of source to show; none: 100.
    pub width: Option<usize>,
}

/// A source whose lines may be shown.
#[derive(Debug)]
pub struct Excerpts<'s> {
    source: &'s [u8],
    redacted: Option<Redacted>,
}

impl<'s> Excerpts<'s> {
    /// Shows lines unchanged.
    #[must_use]
    pub fn in_full(source: &'s [u8]) -> Self {
        Self {
            source,
            redacted: None,
        }
    }

    /// Shows lines without the content of strings, without comments, and without anything that is or may be in an environment: for
    /// logs and other output that others may read.
    #[must_use]
    pub fn redacted(source: &'s [u8]) -> Self {
        Self {
            source,
            redacted: Some(Redacted::new(source)),
        }
    }
}

/// Replaces a line that must not be shown.
pub const NOT_SHOWN: &str = "(not shown: this may be a value of an environment variable)";

const DEFAULT_WIDTH: usize = 100;
const TAB: usize = 4;

#[derive(Clone, Copy)]
enum Paint {
    Error,
    Warning,
    Frame,
    Strong,
}

impl DrawStyle {
    fn paint(self, text: &str, paint: Paint) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Error => "1;31",
            Paint::Warning => "1;33",
            Paint::Frame => "34",
            Paint::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Draws a diagnostic: the message, the position, the line with a mark, further positions, and the help. Ends with a newline.
#[must_use]
pub fn draw(
    diagnostic: &Diagnostic,
    file: &str,
    excerpts: &Excerpts<'_>,
    style: DrawStyle,
) -> String {
    let source = excerpts.source;
    let (word, paint) = match diagnostic.severity {
        Severity::Error => ("error", Paint::Error),
        Severity::Warning => ("warning", Paint::Warning),
    };
    let about = if diagnostic.path.is_empty() {
        String::new()
    } else {
        format!("{}: ", clean(&diagnostic.path))
    };
    let message = style.paint(
        &format!("{about}{}", clean(&diagnostic.message)),
        Paint::Strong,
    );
    let file = clean(file);
    let mut out = format!(
        "{}{} {message}\n",
        style.paint(word, paint),
        style.paint(":", Paint::Strong)
    );
    match diagnostic.span {
        None => out.push_str(&format!(" {} {file}\n", style.paint("-->", Paint::Frame))),
        Some(span) => {
            // Only the author of the diagnostic knows its position.
            let place = diagnostic
                .location
                .unwrap_or_else(|| Lines::new(source).location(source, span.start));
            let marks = marks(diagnostic, span, place.line, source);
            let last = marks.last().map_or(place.line, |mark| mark.line);
            let gutter = last.to_string().len();
            out.push_str(&format!(
                "{}{} {file}:{}:{}\n",
                " ".repeat(gutter),
                style.paint("-->", Paint::Frame),
                place.line,
                place.column
            ));
            draw_marks(marks, gutter, excerpts, style, paint, &mut out);
        }
    }
    if let Some(help) = &diagnostic.help {
        out.push_str(&format!(
            "{} {}\n",
            style.paint("help:", Paint::Strong),
            clean(help)
        ));
    }
    out
}

/// A mark on a line.
struct Mark<'d> {
    line: usize,
    span: Span,
    sign: char,
    message: &'d str,
}

/// All marks, in the order of the source.
fn marks<'d>(diagnostic: &'d Diagnostic, span: Span, line: usize, source: &[u8]) -> Vec<Mark<'d>> {
    let mut marks = vec![Mark {
        line,
        span,
        sign: '^',
        message: "",
    }];
    for label in &diagnostic.labels {
        let place = label
            .location
            .unwrap_or_else(|| Lines::new(source).location(source, label.span.start));
        marks.push(Mark {
            line: place.line,
            span: label.span,
            sign: '-',
            message: &label.message,
        });
    }
    marks.sort_by_key(|mark| (mark.line, mark.span.start));
    marks
}

fn draw_marks(
    marks: Vec<Mark<'_>>,
    gutter: usize,
    excerpts: &Excerpts<'_>,
    style: DrawStyle,
    paint: Paint,
    out: &mut String,
) {
    let source = excerpts.source;
    let bar = style.paint("|", Paint::Frame);
    let blank = " ".repeat(gutter);
    out.push_str(&format!("{blank} {bar}\n"));
    let mut previous: Option<usize> = None;
    for Mark {
        line,
        span,
        sign,
        message,
    } in marks
    {
        let limit = style.width.unwrap_or(DEFAULT_WIDTH);
        // One byte beyond the limit shows that there is more.
        let (mut start, mut text) = line_around(source, span, most_bytes(limit) + 1);
        // As in column counts, a byte order mark is not part of its line.
        if start == 0
            && span.start >= BYTE_ORDER_MARK.len()
            && let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK)
        {
            (start, text) = (BYTE_ORDER_MARK.len(), rest);
        }
        let redacted = excerpts.redacted.as_ref();
        if redacted.is_some_and(|redacted| redacted.is_doubtful(start)) {
            if previous != Some(line) {
                let number = style.paint(&format!("{line:>gutter$}"), Paint::Frame);
                out.push_str(&format!("{number} {bar} {NOT_SHOWN}\n"));
            }
            previous = Some(line);
            continue;
        }
        let hidden = redacted.map(|redacted| redacted.line(source, start, text, span));
        let text = hidden.as_deref().unwrap_or(text);
        let from = span.start.min(source.len()) - start;
        let length = span.end.saturating_sub(span.start);
        let view = View::new(text, from, length, limit);
        if previous.is_some_and(|previous| line > previous + 1) {
            out.push_str(&format!("{blank} {}\n", style.paint("...", Paint::Frame)));
        }
        let number = style.paint(&format!("{line:>gutter$}"), Paint::Frame);
        if previous != Some(line) || view.cropped {
            out.push_str(format!("{number} {bar} {}", view.text).trim_end());
            out.push('\n');
        }
        let marks = sign.to_string().repeat(view.width.max(1));
        let marked = style.paint(&marks, if sign == '^' { paint } else { Paint::Frame });
        let message = if message.is_empty() {
            String::new()
        } else {
            format!(" {}", clean(message))
        };
        out.push_str(&format!(
            "{blank} {bar} {}{marked}{message}\n",
            " ".repeat(view.column)
        ));
        previous = Some(line);
    }
}

/// How many bytes to read for this width. Of a line of megabytes, only the visible part is read: a character has at most 4 bytes.
fn most_bytes(limit: usize) -> usize {
    limit.saturating_mul(4)
}

/// The visible part of a line, and the position of the mark.
struct View {
    text: String,
    column: usize,
    width: usize,
    cropped: bool,
}

impl View {
    fn new(line: &[u8], from: usize, length: usize, limit: usize) -> Self {
        let from = from.min(line.len());
        let to = (from + length).clamp(from, line.len());
        let most = most_bytes(limit);
        let before = shown(&line[from.saturating_sub(most)..from]);
        let marked = shown(&line[from..to.min(from + most)]);
        let after = shown(&line[to..line.len().min(to + most)]);
        let is_short = from <= most && to - from <= most && line.len() - to <= most;
        // The whole line if it fits, else a window around the start of the mark.
        let total = width(&before) + width(&marked) + width(&after);
        if is_short && total <= limit {
            return Self {
                column: width(&before),
                width: width(&marked),
                text: before + &marked + &after,
                cropped: false,
            };
        }
        let lead = limit / 3;
        let head = tail_of(&before, lead);
        let cut_head = head.len() < before.len() || from > most;
        let marked_part = head_of(&marked, limit - lead);
        let room = (limit - lead).saturating_sub(width(&marked_part));
        let cut_mark = marked_part.len() < marked.len() || to - from > most;
        let rest = if cut_mark {
            String::new()
        } else {
            head_of(&after, room)
        };
        let cut_tail = cut_mark || rest.len() < after.len() || line.len() - to > most;
        let front = if cut_head { "..." } else { "" };
        let back = if cut_tail { "..." } else { "" };
        Self {
            column: width(front) + width(&head),
            width: width(&marked_part),
            text: format!("{front}{head}{marked_part}{rest}{back}"),
            cropped: true,
        }
    }
}

/// Bytes prepared for display: tabs as spaces, characters that move the cursor as a replacement character.
fn shown(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes))
}

fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push_str(&" ".repeat(TAB)),
            c if c.is_control() || is_invisible(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Direction marks and the byte order mark, which would shift the visible text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The end of a text that is at most `limit` columns wide.
fn tail_of(text: &str, limit: usize) -> String {
    let mut used = 0;
    let mut at = text.len();
    for (n, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > limit {
            break;
        }
        at = n;
    }
    text[at..].to_owned()
}

/// The start of a text that is at most `limit` columns wide.
fn head_of(text: &str, limit: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= limit
        })
        .collect()
}
