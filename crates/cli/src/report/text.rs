//! Text that is safe to print, with colours.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// The meaning of a piece of text, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// An addition, or a good state.
    Good,
    /// A change, or something that needs attention.
    Notice,
    /// A removal, or an error.
    Bad,
    /// Less important text.
    Faint,
    /// A heading.
    Strong,
    /// Normal text.
    Plain,
    /// A name among others, by its number.
    Name(usize),
}

/// The colours of names. Red and yellow have other meanings.
const NAMES: [AnsiColor; 8] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::BrightCyan,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
    AnsiColor::BrightGreen,
];

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Notice => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Plain => Style::new(),
            Self::Name(number) => NAMES[number % NAMES.len()].on_default(),
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

/// One line of text in pieces, each with its tone.
///
/// Names come from folders, definitions and logs. All text for the terminal passes through here, where control characters are
/// escaped, so none of them can move the cursor, change colours or start a new line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(String, Tone)>);

impl Line {
    /// The same line with one more piece.
    #[must_use]
    pub fn with(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.0.push((escape(text.as_ref()).into_owned(), tone));
        self
    }

    /// The same line with one more piece of normal text.
    #[must_use]
    pub fn plain(self, text: impl AsRef<str>) -> Self {
        self.with(Tone::Plain, text)
    }

    /// The same line with the pieces of another line appended.
    #[must_use]
    pub fn joined(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// The width in columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.width()).sum()
    }

    /// The line as text for a terminal.
    #[must_use]
    pub fn paint(&self, color: bool) -> String {
        self.0
            .iter()
            .map(|(text, tone)| tone.paint(text, color))
            .collect()
    }

    /// Breaks the line at spaces so that no part is wider than `width`, if the words allow it. Text in backticks stays together if
    /// it fits, so that it can be copied.
    #[must_use]
    pub fn wrap(&self, width: usize) -> Vec<Self> {
        let mut lines = vec![Self::default()];
        for (text, tone) in &self.0 {
            for word in words(text, width) {
                let Some(line) = lines.last_mut() else { break };
                let used = line.width();
                if used > 0 && used + word.trim_end().width() > width {
                    line.trim_end();
                    lines.push(Self(vec![(word.to_owned(), *tone)]));
                } else {
                    line.push(word, *tone);
                }
            }
        }
        if let Some(line) = lines.last_mut() {
            line.trim_end();
        }
        lines
    }

    fn push(&mut self, text: &str, tone: Tone) {
        match self.0.last_mut() {
            Some((last, of)) if *of == tone => last.push_str(text),
            _ => self.0.push((text.to_owned(), tone)),
        }
    }

    fn trim_end(&mut self) {
        if let Some((last, _)) = self.0.last_mut() {
            last.truncate(last.trim_end().len());
        }
    }
}

impl<T: AsRef<str>> From<T> for Line {
    fn from(text: T) -> Self {
        Self::default().plain(text)
    }
}

/// Words with the following space. A word in backticks extends to the closing one.
fn words(text: &str, width: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let code = rest.strip_prefix('`').and_then(|code| code.find('`'));
        let code = code.map(|length| length + 2);
        let code = code
            .filter(|length| rest[..*length].width() <= width)
            .unwrap_or(0);
        let end = rest[code..]
            .find(' ')
            .map_or(rest.len(), |at| code + at + 1);
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// Text without anything that a terminal or a log reader would act on.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_unsafe(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether a character controls a terminal, ends a line, or changes the direction of the following text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A word quoted for a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The singular or the plural.
#[must_use]
pub fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// A count with its noun.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", plural(count, one, many))
}

/// A list of names that may be long: the first few by name, the rest as a count.
#[must_use]
pub fn listed(names: &[String]) -> String {
    const MOST: usize = 4;
    match names.get(MOST..) {
        Some(rest) if rest.len() > 1 => {
            format!("{} and {} more", names[..MOST].join(", "), rest.len())
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminal_control_characters_are_escaped() {
        let text = "a\u{1b}]0;x\u{7}\u{9b}31m\n::error::b\t\r\u{7f}\u{202e}";
        let escaped = r"a\u{1b}]0;x\u{7}\u{9b}31m\n::error::b\t\r\u{7f}\u{202e}";
        assert_eq!(Line::from(text).paint(true), escaped);
        assert_eq!(escape(text), escaped);
        let plain = "日本 é 👩‍👩‍👧 – `x`";
        assert_eq!(Line::from(plain).paint(true), plain);
        assert!(matches!(escape(plain), Cow::Borrowed(_)));
    }

    #[test]
    fn only_our_own_colours_are_colours() {
        let line = Line::default().with(Tone::Bad, "bad\u{1b}[32m");
        assert_eq!(
            line.paint(true),
            "\u{1b}[1m\u{1b}[31mbad\\u{1b}[32m\u{1b}[0m"
        );
        assert_eq!(line.paint(false), r"bad\u{1b}[32m");
    }

    #[test]
    fn a_line_wraps_at_spaces_and_keeps_its_tones() {
        let line = Line::from("one two ").with(Tone::Bad, "three four");
        let wrapped: Vec<String> = line.wrap(9).iter().map(|line| line.paint(false)).collect();
        assert_eq!(wrapped, ["one two", "three", "four"]);
        assert_eq!(line.wrap(80), std::slice::from_ref(&line));
        let red = line.wrap(9)[1].paint(true);
        assert_eq!(red, Tone::Bad.paint("three", true));
        let command = Line::from("run `a b c`; or `a longer one` `");
        let wrapped = |width| -> Vec<String> {
            let lines = command.wrap(width);
            lines.iter().map(|line| line.paint(false)).collect()
        };
        assert_eq!(wrapped(9), ["run", "`a b c`;", "or `a", "longer", "one` `"]);
        assert_eq!(wrapped(14), ["run `a b c`;", "or", "`a longer one`", "`"]);
    }
}
