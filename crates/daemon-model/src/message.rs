//! Messages about a definition that keep quotations separate, because they may be secrets.
//!
//! A message about a value of an environment variable must not reveal it, wherever it is printed. So that no code has to search
//! finished text for values, a message consists of fixed text and of quotations, and has two forms: with the quotations, and with
//! [`HIDDEN`] in their place. The macro [`message!`](crate::message!) accepts nothing else.

use std::fmt::Display;

/// Replaces a value that is not shown.
pub const HIDDEN: &str = "***";

/// A message about a definition, with and without quotations from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    full: String,
    /// None if nothing is quoted.
    redacted: Option<String>,
}

impl Message {
    /// The message with quotations. It may reveal a secret.
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The message without quotations.
    #[must_use]
    pub fn redacted(&self) -> &str {
        self.redacted.as_deref().unwrap_or(&self.full)
    }

    /// Created by [`message!`](crate::message!).
    #[doc(hidden)]
    #[must_use]
    pub fn of_parts(format: &'static str, parts: &[&dyn MessagePart]) -> Self {
        let full = filled(format, parts, false);
        let redacted = filled(format, parts, true);
        let redacted = (redacted != full).then_some(redacted);
        Self { full, redacted }
    }
}

/// A format with its parts substituted for `{}`.
fn filled(format: &str, parts: &[&dyn MessagePart], redacted: bool) -> String {
    let mut out = String::with_capacity(format.len() + 32);
    let mut parts = parts.iter();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        // Braces are escaped by doubling.
        let next = matches!(c, '{' | '}').then(|| rest.next()).flatten();
        match (c, next) {
            ('{', Some('}')) => {
                if let Some(part) = parts.next() {
                    part.write(&mut out, redacted);
                }
            }
            (c, _) => out.push(c),
        }
    }
    out
}

impl From<&'static str> for Message {
    fn from(words: &'static str) -> Self {
        Self {
            full: words.to_owned(),
            redacted: None,
        }
    }
}

/// A part of a [`Message`].
pub trait MessagePart {
    /// Writes the part, or its replacement.
    fn write(&self, out: &mut String, redacted: bool);
}

/// Text from a definition.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<T>(pub T);

impl<T: Display> MessagePart for Quoted<T> {
    fn write(&self, out: &mut String, redacted: bool) {
        if redacted {
            out.push_str(HIDDEN);
        } else {
            out.push_str(&self.0.to_string());
        }
    }
}

/// Text that is not constant but does not come from a definition: a name from one of our tables, or a word made from a number.
#[derive(Debug, Clone, Copy)]
pub struct Ours<T>(pub T);

impl<T: Display> MessagePart for Ours<T> {
    fn write(&self, out: &mut String, _: bool) {
        out.push_str(&self.0.to_string());
    }
}

impl MessagePart for Message {
    fn write(&self, out: &mut String, redacted: bool) {
        out.push_str(if redacted {
            self.redacted()
        } else {
            self.full()
        });
    }
}

macro_rules! ours {
    ($($type:ty),*) => {$(
        impl MessagePart for $type {
            fn write(&self, out: &mut String, _: bool) {
                out.push_str(&self.to_string());
            }
        }
    )*};
}
ours!(&'static str, char, usize, u32, u64);

/// How many parts a format takes; none if it contains more than plain `{}`, because values captured by name could not be hidden.
#[doc(hidden)]
#[must_use]
pub const fn places_in(format: &str) -> Option<usize> {
    let bytes = format.as_bytes();
    let (mut at, mut places) = (0, 0);
    while at < bytes.len() {
        let next = if at + 1 < bytes.len() {
            bytes[at + 1]
        } else {
            0
        };
        match (bytes[at], next) {
            (b'{', b'}') => places += 1,
            (b'{', b'{') | (b'}', b'}') => {}
            (b'{' | b'}', _) => return None,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    Some(places)
}

/// A [`Message`](crate::Message) from a format with plain `{}` and a [`MessagePart`](crate::MessagePart) for each.
///
/// ```
/// use daemon_model::{Ours, Quoted, message};
///
/// let message = message!("expected {}, got `{}`", "a number", Quoted("hunter2"));
/// assert_eq!(message.full(), "expected a number, got `hunter2`");
/// assert_eq!(message.redacted(), "expected a number, got `***`");
/// ```
///
/// Text that is not constant must be [`Quoted`](crate::Quoted) or [`Ours`](crate::Ours), and nothing is captured by name:
///
/// ```compile_fail
/// let name = String::from("hunter2");
/// daemon_model::message!("expected `{}`", name.as_str());
/// ```
///
/// ```compile_fail
/// let name = String::from("hunter2");
/// daemon_model::message!("expected `{name}`");
/// ```
#[macro_export]
macro_rules! message {
    ($format:literal $(, $part:expr)* $(,)?) => {{
        const PARTS: usize = <[&str]>::len(&[$(stringify!($part)),*]);
        const _: () = assert!(
            matches!($crate::places_in($format), Some(PARTS)),
            "a message takes one part for each plain `{{}}`"
        );
        $crate::Message::of_parts($format, &[$(&$part),*])
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_hidden_and_our_own_is_not() {
        let key = String::from("KEY");
        let inner = message!("`{}` of {}", Quoted(&key), Ours(3.to_string()));
        let message = message!("{{:a}} {}: {}, {}", "no", inner, 5_usize);
        assert_eq!(message.full(), "{:a} no: `KEY` of 3, 5");
        assert_eq!(message.redacted(), "{:a} no: `***` of 3, 5");
        let plain = Message::from("a {} b");
        assert_eq!((plain.full(), plain.redacted()), ("a {} b", "a {} b"));
    }
}
