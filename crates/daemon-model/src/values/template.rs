//! Text with `${NAME}` references, in the forms that docker compose supports.

/// Text with references to variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Reference),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: String,
    /// The reference as written.
    written: String,
    otherwise: Otherwise,
}

/// What to do for a variable without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Otherwise {
    /// Report an error.
    Missing,
    /// `:-`: use this default, also for an empty value.
    Default(Template),
    /// `:?`: report this error, also for an empty value.
    Message(String),
}

/// Which references are supported in addition to `${NAME}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// None, for values of a definition.
    Braces,
    /// `$NAME`, for values of an env file.
    Bare,
}

/// A `${` that does not start a supported reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// The text that was written.
    pub(crate) written: String,
}

/// A reference without a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unresolved {
    pub(crate) name: String,
    /// The message of `:?`.
    pub(crate) message: Option<String>,
}

impl Template {
    /// Parses text with references. `$$` is a dollar sign.
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        let rest = template.read(text, syntax, false)?;
        debug_assert!(rest.is_empty());
        Ok(template)
    }

    /// Adds literal text.
    pub(crate) fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// Adds text up to and including the next reference or `$`; returns the rest.
    pub(crate) fn push_dollar<'t>(
        &mut self,
        text: &'t str,
        syntax: Syntax,
    ) -> Result<&'t str, TemplateError> {
        let after = text.strip_prefix('$').unwrap_or(text);
        if let Some(rest) = after.strip_prefix('$') {
            self.push_text("$");
            return Ok(rest);
        }
        if after.starts_with('{') {
            let (reference, rest) = reference(text, syntax)?;
            self.parts.push(Part::Reference(reference));
            return Ok(rest);
        }
        let length = match syntax {
            Syntax::Bare => name_length(after),
            Syntax::Braces => 0,
        };
        if length == 0 {
            self.push_text("$");
            return Ok(after);
        }
        let (name, rest) = after.split_at(length);
        self.parts.push(Part::Reference(Reference {
            name: name.to_owned(),
            written: format!("${name}"),
            otherwise: Otherwise::Missing,
        }));
        Ok(rest)
    }

    /// Reads to the end, or to the `}` that ends the enclosing reference; returns the rest.
    fn read<'t>(
        &mut self,
        mut text: &'t str,
        syntax: Syntax,
        is_inside: bool,
    ) -> Result<&'t str, TemplateError> {
        loop {
            let stop = |c: char| c == '$' || (is_inside && c == '}');
            let at = text.find(stop).unwrap_or(text.len());
            let (before, rest) = text.split_at(at);
            self.push_text(before);
            if !rest.starts_with('$') {
                return Ok(rest);
            }
            text = self.push_dollar(rest, syntax)?;
        }
    }

    /// Whether it has references.
    pub(crate) fn has_references(&self) -> bool {
        let is_reference = |part: &Part| matches!(part, Part::Reference(_));
        self.parts.iter().any(is_reference)
    }

    /// The text with its references replaced. The values are not parsed for references.
    pub(crate) fn resolve<'v>(
        &self,
        value: &dyn Fn(&str) -> Option<&'v str>,
    ) -> Result<String, Unresolved> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Reference(reference) => text.push_str(&reference.resolve(value)?),
            }
        }
        Ok(text)
    }

    /// The text with each reference as written.
    pub(crate) fn as_written(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Reference(reference) => reference.written.as_str(),
        });
        parts.collect()
    }

    /// The names that it refers to, including those in defaults.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for part in &self.parts {
            if let Part::Reference(reference) = part {
                names.push(reference.name.as_str());
                if let Otherwise::Default(default) = &reference.otherwise {
                    names.extend(default.names());
                }
            }
        }
        names
    }
}

impl Reference {
    fn resolve<'v>(&self, value: &dyn Fn(&str) -> Option<&'v str>) -> Result<String, Unresolved> {
        let found = value(&self.name);
        let message = match (&self.otherwise, found) {
            (Otherwise::Missing, Some(value)) => return Ok(value.to_owned()),
            (_, Some(value)) if !value.is_empty() => return Ok(value.to_owned()),
            (Otherwise::Default(default), _) => return default.resolve(value),
            (Otherwise::Message(message), _) => Some(message.clone()),
            (Otherwise::Missing, None) => None,
        };
        Err(Unresolved {
            name: self.name.clone(),
            message,
        })
    }
}

/// Reads a reference in braces at the start of the text; returns the rest.
fn reference(text: &str, syntax: Syntax) -> Result<(Reference, &str), TemplateError> {
    let inside = text.strip_prefix("${").unwrap_or(text);
    let wrong = || {
        let end = text.find('}').map_or(text.len(), |at| at + 1);
        TemplateError {
            written: text.get(..end).unwrap_or(text).to_owned(),
        }
    };
    let (name, rest) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return Err(wrong());
    }
    let (otherwise, rest) = if let Some(default) = rest.strip_prefix(":-") {
        let mut template = Template::default();
        let rest = template.read(default, syntax, true)?;
        (Otherwise::Default(template), rest)
    } else if let Some(message) = rest.strip_prefix(":?") {
        let (message, _) = message.split_once('}').ok_or_else(wrong)?;
        let rest = rest.get(2 + message.len()..).unwrap_or("");
        (Otherwise::Message(message.to_owned()), rest)
    } else {
        (Otherwise::Missing, rest)
    };
    let rest = rest.strip_prefix('}').ok_or_else(wrong)?;
    let written = text.get(..text.len() - rest.len()).unwrap_or(text);
    let reference = Reference {
        name: name.to_owned(),
        written: written.to_owned(),
        otherwise,
    };
    Ok((reference, rest))
}

/// The length of the variable name at the start of the text, in bytes.
fn name_length(text: &str) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match text.bytes().next() {
        Some(first) if !first.is_ascii_digit() => {
            text.as_bytes().iter().take_while(|it| is_part(it)).count()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, syntax: Syntax) -> Result<String, String> {
        let template = Template::parse(text, syntax).map_err(|error| error.written)?;
        let value = |name: &str| match name {
            "A" => Some("1"),
            "_b2" => Some("${A}"),
            "EMPTY" => Some(""),
            _ => None,
        };
        let found = template.resolve(&value);
        found.map_err(|error| format!("{} {:?}", error.name, error.message))
    }

    #[test]
    fn four_forms_are_replaced_and_nothing_else_is() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("x${A}y${_b2}z", "x1y${A}z"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$$A $1 $ {A} 5$", "$$A $1 $ {A} 5$"),
            ("${A}}", "1}"),
            ("${B:-x y}", "x y"),
            ("${B:-}", ""),
            ("${EMPTY:-x}${EMPTY}", "x"),
            ("${A:-x}", "1"),
            ("${B:-${A}/${C:-c}}!", "1/c!"),
            ("${B:-$$x}", "$x"),
            ("${A:?needed}", "1"),
            ("ä${A}ö", "ä1ö"),
        ] {
            assert_eq!(
                resolved(text, Syntax::Braces),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        assert_eq!(
            resolved("$A-$_b2$$A", Syntax::Bare),
            Ok("1-${A}$A".to_owned())
        );
        assert_eq!(resolved("$1 $ 5$", Syntax::Bare), Ok("$1 $ 5$".to_owned()));
    }

    #[test]
    fn a_reference_without_a_value_is_named() {
        for (text, expected) in [
            ("${B}", "B None"),
            ("${A}${C:-${D}}", "D None"),
            ("${B:?say why}", "B Some(\"say why\")"),
            ("${EMPTY:?}", "EMPTY Some(\"\")"),
        ] {
            assert_eq!(
                resolved(text, Syntax::Braces),
                Err(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused_and_shown() {
        for (text, written) in [
            ("${", "${"),
            ("a${B", "${B"),
            ("${}", "${}"),
            ("${1A}/x", "${1A}"),
            ("${A-1}/x", "${A-1}"),
            ("${A:+1}", "${A:+1}"),
            ("${A?x}", "${A?x}"),
            ("${A:-x", "${A:-x"),
            ("${A:?x", "${A:?x"),
            ("${A B}", "${A B}"),
            ("${B:-${C!}}", "${C!}"),
        ] {
            assert_eq!(
                resolved(text, Syntax::Braces),
                Err(written.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_template_shows_as_it_was_written() {
        let text = "a ${A} ${B:-${C}} $$x";
        let template = Template::parse(text, Syntax::Braces).unwrap();
        assert_eq!(template.as_written(), "a ${A} ${B:-${C}} $x");
        assert_eq!(template.names(), ["A", "B", "C"]);
        assert!(template.has_references());
    }
}
