//! Parses env files in the syntax of Docker Compose, strictly: if Compose guesses or drops something, this is an error.
//!
//! Source of the syntax: docs.docker.com, "Set environment variables", and compose-go 2.x, `dotenv/parser.go`. docs/values.md lists
//! the differences.

use std::fmt;

use super::template::{Syntax, Template};
use crate::attribute;
use crate::is_variable_name;

/// Only the first problems are reported.
const MOST_PROBLEMS: usize = 20;

/// The state of an env file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvFileState {
    /// The file is valid.
    Present(EnvFile),
    /// The file does not exist.
    Absent,
    /// The file cannot be used: at least one problem.
    Unusable(Vec<EnvFileProblem>),
}

/// The variables of an env file.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvFile {
    pub(crate) variables: Vec<Variable>,
    /// Dangers, such as permissions.
    pub(crate) warnings: Vec<EnvFileProblem>,
}

/// A problem of an env file. It never quotes the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFileProblem {
    /// The line, from 1; none for the whole file.
    pub line: Option<usize>,
    /// The problem, as a lowercase fragment.
    pub message: String,
}

impl EnvFileProblem {
    /// A problem of the whole file.
    #[must_use]
    pub fn of_file(message: impl Into<String>) -> Self {
        Self {
            line: None,
            message: message.into(),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) value: Template,
}

impl EnvFile {
    /// Parses an env file. References in it are not resolved yet.
    ///
    /// # Errors
    /// The problems, at least one.
    pub fn parse(source: &[u8]) -> Result<Self, Vec<EnvFileProblem>> {
        let text = match std::str::from_utf8(source) {
            Ok(text) => text,
            Err(error) => {
                let before = source.get(..error.valid_up_to()).unwrap_or(source);
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                return Err(vec![EnvFileProblem {
                    line: Some(line),
                    message: "is not UTF-8".to_owned(),
                }]);
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n");
        let mut parser = Parser {
            rest: &text,
            line: 1,
            variables: Vec::new(),
            problems: Vec::new(),
        };
        parser.run();
        match parser.problems.is_empty() {
            true => Ok(Self {
                variables: parser.variables,
                warnings: Vec::new(),
            }),
            false => Err(parser.problems),
        }
    }

    /// Adds a warning.
    #[must_use]
    pub fn with_warning(mut self, warning: EnvFileProblem) -> Self {
        self.warnings.push(warning);
        self
    }

    /// The names of its variables, in file order; with duplicates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }
}

/// Shows names only.
impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

struct Parser<'t> {
    rest: &'t str,
    line: usize,
    variables: Vec<Variable>,
    problems: Vec<EnvFileProblem>,
}

type Problem = &'static str;

fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

impl<'t> Parser<'t> {
    fn run(&mut self) {
        while self.next_statement() && self.problems.len() < MOST_PROBLEMS {
            let line = self.line;
            match self.statement() {
                Ok((name, value)) => self.variables.push(Variable { name, line, value }),
                Err(message) => {
                    let message = message.to_owned();
                    self.problems.push(EnvFileProblem {
                        line: Some(line),
                        message,
                    });
                    self.skip_line();
                }
            }
        }
    }

    /// Consumes this many bytes.
    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !is_taken(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// Consumes the rest of the line, and returns it without the line ending.
    fn skip_line(&mut self) -> &'t str {
        self.take_while(|c| c != '\n')
    }

    /// Advances to the next statement, if there is one.
    fn next_statement(&mut self) -> bool {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.skip_line();
        }
    }

    fn statement(&mut self) -> Result<(String, Template), Problem> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.take("export".len());
            self.take_while(is_blank);
        }
        let name = self.take_while(|c| !matches!(c, '=' | ':' | '\n' | '"' | '\'' | '#'));
        let name = name.trim();
        if !self.rest.starts_with(['=', ':']) {
            return Err("expected `NAME=value`");
        }
        self.take(1);
        check_name(name)?;
        self.take_while(is_blank);
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let value = self.quoted(quote)?;
                self.take_while(is_blank);
                if !(self.rest.is_empty() || self.rest.starts_with(['\n', '#'])) {
                    return Err("unexpected text after the closing quote");
                }
                self.skip_line();
                value
            }
            _ => self.unquoted()?,
        };
        Ok((name.to_owned(), value))
    }

    fn unquoted(&mut self) -> Result<Template, Problem> {
        // A `#` after a blank starts a comment; here it follows a blank or the `=`.
        if self.rest.starts_with('#') {
            self.skip_line();
            return Ok(Template::default());
        }
        let line = self.skip_line();
        let is_comment = |(at, _): &(usize, &str)| {
            line.get(..*at)
                .is_some_and(|before| before.ends_with(is_blank))
        };
        let comment = line.match_indices('#').find(is_comment);
        let value = comment.map_or(line, |(at, _)| line.get(..at).unwrap_or(line));
        let value = value.trim_end();
        if value.contains('\0') {
            return Err(NUL);
        }
        Template::parse(value, Syntax::Bare).map_err(|_| REFERENCE)
    }

    fn quoted(&mut self, quote: char) -> Result<Template, Problem> {
        let has_references = quote == '"';
        let mut value = Template::default();
        let mut rest = self.rest.get(1..).unwrap_or("");
        loop {
            let special =
                |c: char| c == quote || c == '\\' || c == '\0' || (has_references && c == '$');
            let Some(at) = rest.find(special) else {
                return Err("the closing quote is missing");
            };
            let (text, next) = rest.split_at(at);
            value.push_text(text);
            rest = next;
            if let Some(after) = rest.strip_prefix(quote) {
                let length = self.rest.len() - after.len();
                self.take(length);
                return Ok(value);
            }
            if rest.starts_with('\0') {
                return Err(NUL);
            }
            if rest.starts_with('$') {
                rest = value
                    .push_dollar(rest, Syntax::Bare)
                    .map_err(|_| REFERENCE)?;
                continue;
            }
            let (text, length) = match has_references {
                true => escape(rest),
                false if rest.starts_with("\\'") => ("'".to_owned(), 2),
                false if rest.starts_with("\\\\") => ("\\\\".to_owned(), 2),
                false => ("\\".to_owned(), 1),
            };
            if text.contains('\0') {
                return Err(NUL);
            }
            value.push_text(&text);
            rest = rest.get(length..).unwrap_or("");
        }
    }
}

const NUL: Problem = "contains U+0000, which cannot be passed to a process";
const REFERENCE: Problem = "`${` must begin one of the forms `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; write `$$` for a dollar sign";

/// The replacement for an escape in double quotes, and how many bytes it has. An invalid escape is kept as it is.
fn escape(text: &str) -> (String, usize) {
    let second = text.as_bytes().get(1).copied().unwrap_or(b'\\');
    let single = match second {
        b'a' => '\u{7}',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'v' => '\u{b}',
        b'\\' | b'"' | b'$' => char::from(second),
        // As in `echo`: a zero and three octal digits.
        b'0' => {
            let digits = text
                .get(2..5)
                .filter(|digits| digits.bytes().all(|it| it.is_ascii_digit()));
            let number = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
            return match number {
                Some(byte) => (char::from(byte).to_string(), 5),
                None => ("\\".to_owned(), 1),
            };
        }
        _ => return ("\\".to_owned(), 1),
    };
    (single.to_string(), 2)
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        Err("a name is missing")
    } else if !is_variable_name(name) {
        Err("expected a name of letters, digits, `_`, `-` and `.`")
    } else if attribute::FATAL_KEYS.contains(&name) {
        Err("an environment variable of this name would crash PM2")
    } else if attribute::is_record_key(name) {
        Err("an environment variable of this name would overwrite PM2's attribute of that name")
    } else {
        Ok(())
    }
}
