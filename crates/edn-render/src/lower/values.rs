//! Checks values and keys for what JSON cannot express without loss.

use daemon_model::{DocumentPath, Level, Message, Ours, Quoted, Severity, is_env_like, message};

use super::{describe, entries, is_code};
use crate::findings::Findings;
use crate::leaf::crop;
use crate::same::{ValueHasher, repeated};
use crate::secrets::touches_quotes;
use crate::tree::{Kind, Node, Tag};

/// Reports values and keys that JSON cannot express without loss.
pub(crate) fn check_values(form: Node<'_>, with_profiles: bool, findings: &mut Findings) {
    let mut check = Check {
        is_read: !findings.is_broken(),
        findings,
        hasher: ValueHasher::default(),
        hashes: Vec::new(),
    };
    check.map(entries(form, with_profiles), &Step::Root);
}

/// A path to a value. It is only converted to text for a finding.
enum Step<'a> {
    Root,
    Key(&'a Step<'a>, Node<'a>),
    Index(&'a Step<'a>, usize),
}

impl Step<'_> {
    fn path(&self) -> DocumentPath {
        match self {
            Self::Root => DocumentPath::root(),
            Self::Key(parent, key) => parent.path().key(key.key_text().unwrap_or_default()),
            Self::Index(parent, index) => parent.path().index(*index),
        }
    }
}

struct Check<'f> {
    /// Whether everything could be read, so that no key is written twice.
    is_read: bool,
    findings: &'f mut Findings,
    hasher: ValueHasher,
    /// Hashes of the keys of one map; reused to avoid allocations.
    hashes: Vec<u128>,
}

impl Check<'_> {
    // The reader bounds the depth of the tree.
    fn value(&mut self, node: Node<'_>, step: &Step<'_>) {
        match node.tag() {
            Tag::List | Tag::Vector | Tag::Set => {
                self.code(node, step);
                for (n, item) in node.values().enumerate() {
                    self.value(item, &Step::Index(step, n));
                }
            }
            Tag::Map => {
                self.variables(node, step);
                self.map(node.entries().into_iter().flatten(), step);
            }
            Tag::Number => self.number(node, step),
            Tag::Keyword => self.removal(node, step),
            Tag::Symbol => self.quotes(node, step),
            Tag::Uuid => {
                self.findings
                    .unsupported(node.span(), "`#uuid` cannot be rendered reliably")
                    .help("write the plain string")
                    .value(step.path());
            }
            Tag::Js => {
                self.findings
                    .unsupported(
                        node.span(),
                        "`#js` with a keyword, a symbol or a collection inside cannot be rendered reliably",
                    )
                    .help("write it without `#js`")
                    .value(step.path());
            }
            _ => {}
        }
    }

    fn number(&mut self, node: Node<'_>, step: &Step<'_>) {
        let Kind::Number(number) = node.kind() else {
            return;
        };
        if number.is_finite() {
            return;
        }
        let token = node.written();
        let message = match token.strip_prefix("##") {
            Some(name) => message!(
                "`##{}` has no form in JSON and would become null",
                Ours(name)
            ),
            None if token.contains('/') => "this ratio divides by zero".into(),
            None => "this number is too large for JSON".into(),
        };
        self.findings.error(node.span(), message).value(step.path());
    }

    /// Clojure would call this form, but a definition is data.
    fn code(&mut self, node: Node<'_>, step: &Step<'_>) {
        if !is_code(node) || self.findings.leaves_out(Severity::Warning) {
            return;
        }
        let first = node.values().next().map_or("", Node::written);
        let message = message!(
            "`{}` is not called: this is a list of strings",
            Quoted(crop(first))
        );
        let help = "write the value itself, or a vector where a list is meant";
        self.warn(node, message, help, step);
    }

    /// Single quotes do not quote in EDN.
    fn quotes(&mut self, node: Node<'_>, step: &Step<'_>) {
        let written = node.written();
        if !written.starts_with('\'') || self.findings.leaves_out(Severity::Warning) {
            return;
        }
        let message = message!(
            "the single quote is part of the text `{}`",
            Quoted(crop(written))
        );
        self.warn(node, message, "write strings in double quotes", step);
    }

    /// A removal marker only works in a profile; elsewhere it is text.
    fn removal(&mut self, node: Node<'_>, step: &Step<'_>) {
        let Kind::Keyword(name) = node.kind() else {
            return;
        };
        if !name.is_plain()
            && name.name() == "remove"
            && name
                .namespace()
                .is_some_and(|namespace| crate::mode::REMOVERS.contains(&namespace))
            && !self.findings.leaves_out(Severity::Warning)
        {
            let message = message!(
                "`:{}` removes nothing here: it is the text `remove`",
                Quoted(name.full)
            );
            let help = "it removes only in `:profiles`, which are merged over the definition";
            self.warn(node, message, help, step);
        }
    }

    /// Warns of a value whose meaning differs from its appearance.
    fn warn(&mut self, node: Node<'_>, message: Message, help: &'static str, step: &Step<'_>) {
        self.findings
            .add(Severity::Warning, Level::Definition, node.span(), message)
            .help(help)
            .value(step.path());
    }

    /// In an environment, a name that touches a string is part of a value with a missing quote. It must not become the name of a
    /// variable, which may be shown.
    fn variables(&mut self, node: Node<'_>, step: &Step<'_>) {
        let Step::Key(_, key) = step else {
            return;
        };
        if !key.key_text().is_some_and(|key| is_env_like(&key)) {
            return;
        }
        for (name, _) in node.entries().into_iter().flatten() {
            if touches_quotes(name) && !self.findings.leaves_out(Severity::Error) {
                let path = Step::Key(step, name).path();
                self.findings
                    .add(
                        Severity::Error,
                        Level::Definition,
                        name.span(),
                        "this variable name touches a string: a quote is missing",
                    )
                    .help("put a space before and after each string, and a quote at each end")
                    .key(name, path);
            }
        }
    }

    fn map<'t>(
        &mut self,
        entries: impl Iterator<Item = (Node<'t>, Node<'t>)> + Clone,
        step: &Step<'_>,
    ) {
        self.keys(entries.clone().map(|(key, _)| key), step);
        for (key, value) in entries {
            if !key.tag().is_collection() {
                self.value(value, &Step::Key(step, key));
            }
        }
    }

    fn keys<'t>(&mut self, keys: impl Iterator<Item = Node<'t>> + Clone, step: &Step<'_>) {
        // Different keywords without namespaces have different texts.
        let mut are_plain = true;
        for key in keys.clone() {
            match key.kind() {
                // Nearly all keys: nothing can be wrong with them.
                Kind::Keyword(name) if name.is_plain() && name.full != "__proto__" => continue,
                Kind::Keyword(name) if name.namespace().is_none() => {}
                Kind::Broken => continue,
                _ => are_plain = false,
            }
            let here = Step::Key(step, key);
            match key.key_text() {
                None => {
                    self.findings
                        .unsupported(
                            key.span(),
                            message!("{} cannot be a key of a JSON object", describe(key)),
                        )
                        .value(step.path());
                }
                Some(text) if text == "__proto__" => {
                    self.findings
                        .error(key.span(), "the key `__proto__` would be lost")
                        .key(key, here.path());
                }
                Some(_) => match key.tag() {
                    Tag::Number => self.number(key, &here),
                    Tag::Keyword => self.removal(key, &here),
                    _ => {}
                },
            }
        }
        if are_plain || !self.is_read {
            return;
        }
        let texts = || keys.clone().filter(|key| !key.tag().is_collection());
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        for key in texts() {
            hashes.push(match key.key_text() {
                Some(text) => self.hasher.text(&text),
                None => self.hasher.identity(key),
            });
        }
        repeated(&hashes, |first, later| {
            if self.findings.leaves_out(Severity::Error) {
                return;
            }
            let (Some(one), Some(key)) = (texts().nth(first), texts().nth(later)) else {
                return;
            };
            let text = key.key_text().unwrap_or_default();
            self.findings
                .error(
                    key.span(),
                    message!(
                        "becomes the same JSON key `{}` as another",
                        Quoted(crop(&text))
                    ),
                )
                .label(one.span(), "first defined here")
                .key(key, Step::Key(step, key).path());
        });
        self.hashes = hashes;
    }
}
