//! From a tree to the document that PM2 reads, as the reference does it.

use daemon_model::{DocumentPath, Level, Severity, Span, attribute};
use serde_json::{Map, Number, Value};

use crate::findings::Findings;
use crate::leaf::crop;
use crate::same::{Same, repeated};
use crate::tree::{Kind, Node, Tag};

/// Checks that the whole is a definition, and puts its `:apps` right. Without findings of errors it is one.
pub(crate) fn check_structure(form: Option<Node<'_>>, end: usize, findings: &mut Findings) {
    let Some(form) = form else {
        if !findings.is_broken() {
            findings
                .error(
                    Span::new(end, end),
                    "the file is empty: a definition is a map with `:apps`",
                )
                .help("write `{:apps []}` for a daemon that wants no processes");
        }
        return;
    };
    let Some(entries) = form.entries() else {
        let message = match form.tag() {
            Tag::Broken => return,
            Tag::Nil => "the file holds `nil`: a definition is a map with `:apps`",
            _ => "a definition is a map with `:apps`",
        };
        let found = findings.error(form.span(), message);
        if form.tag() == Tag::Vector {
            found.help("write `{:apps [...]}`");
        }
        return;
    };
    let has_apps = form.get("apps").is_some();
    for (key, _) in entries {
        if key.key_text().as_deref() == Some("apps") && !key.is_keyword("apps")
            || matches!(key.kind(), Kind::Symbol(name) if name.name() == "apps")
        {
            findings
                .error(
                    key.span(),
                    "only the keyword `:apps` is read: what stands here would be lost",
                )
                .help("write `:apps`");
        } else {
            warn_unknown(key, has_apps, findings);
        }
    }
    match form.get("apps") {
        None if findings.is_broken() => {}
        None => warn_no_apps(opening(form), findings),
        Some(apps) => check_apps(apps, findings),
    }
}

/// Beside `:apps` PM2 and pm2-sync read a few keys only; others are printed, and that is all.
fn warn_unknown(key: Node<'_>, has_apps: bool, findings: &mut Findings) {
    let Some(text) = key.key_text() else {
        return;
    };
    let is_known = matches!(&*text, "apps" | "deploy") || key.is_keyword("profiles");
    if is_known || findings.is_full_of_warnings() {
        return;
    }
    let shown = crop(key.written());
    let (message, help) = if text == "static" {
        (
            format!("pm2-sync serves no files: `{shown}` has no effect"),
            Some("write an app that serves them".to_owned()),
        )
    } else {
        let near = attribute::nearest_beside_apps(&text);
        let help = match (near, attribute::find(&text)) {
            (Some(near), _) => Some(format!("did you mean `:{near}`?")),
            (None, Some(_)) => Some(format!(
                "it is an attribute of an app: write `:{text}` into each map of `:apps`"
            )),
            // That it wants nothing is told anyway.
            (None, None) if !has_apps => return,
            (None, None) => None,
        };
        (
            format!("unknown key `{shown}` beside `:apps`: PM2 ignores it"),
            help,
        )
    };
    let found = findings.add(Severity::Warning, Level::Definition, key.span(), message);
    let found = found.path(DocumentPath::root().key(text).to_string());
    if let Some(help) = help {
        found.help(help);
    }
}

fn warn_no_apps(span: Span, findings: &mut Findings) {
    findings.add(
        Severity::Warning,
        Level::Definition,
        span,
        "no apps: this definition wants nothing",
    );
}

/// The first bracket of a form.
fn opening(form: Node<'_>) -> Span {
    let start = form.span().start;
    Span::new(start, start + 1)
}

/// Whether it is a list that names something to be called first.
fn is_code(node: Node<'_>) -> bool {
    node.tag() == Tag::List
        && node
            .values()
            .next()
            .is_some_and(|first| first.tag() == Tag::Symbol)
}

fn check_apps(apps: Node<'_>, findings: &mut Findings) {
    if is_code(apps) {
        findings
            .unsupported(
                apps.span(),
                "this is DSL code, which needs evaluation: expected a vector of maps",
            )
            .path("apps");
        return;
    }
    let items = match apps.kind() {
        Kind::Items(items) => Some(items),
        Kind::Nil => None,
        Kind::Text(text) if text.is_empty() => None,
        Kind::Map(entries) if entries.clone().next().is_none() => None,
        Kind::Broken => return,
        _ => {
            let found = findings
                .error(
                    apps.span(),
                    format!("expected a vector of maps, got {}", describe(apps)),
                )
                .path("apps");
            if apps.tag() == Tag::Map {
                found.help("put it into a vector: `:apps [{...}]`");
            }
            return;
        }
    };
    let mut items = items.into_iter().flatten().enumerate().peekable();
    if items.peek().is_none() {
        warn_no_apps(apps.span(), findings);
    }
    for (n, app) in items {
        if is_code(app) {
            findings
                .unsupported(
                    app.span(),
                    "this is DSL code, which needs evaluation: expected a map",
                )
                .path(format!("apps[{n}]"));
        } else if !matches!(app.tag(), Tag::Map | Tag::Broken) {
            findings
                .error(app.span(), format!("expected a map, got {}", describe(app)))
                .path(format!("apps[{n}]"));
        }
    }
}

/// A value for a message.
pub(crate) fn describe(node: Node<'_>) -> String {
    match node.kind() {
        Kind::Nil => "nil".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(_) => "a number".to_owned(),
        Kind::Text(text) => format!("the string {:?}", crop(&text)),
        Kind::Instant(_) => "an instant".to_owned(),
        Kind::Keyword(name) => format!("the keyword `:{}`", crop(name.full)),
        Kind::Symbol(name) => format!("the symbol `{}`", crop(name.full)),
        Kind::Items(_) => match node.tag() {
            Tag::List => "a list",
            Tag::Vector => "a vector",
            _ => "a set",
        }
        .to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Uuid => "a UUID".to_owned(),
        Kind::Js => "a value of JavaScript".to_owned(),
        Kind::Broken => "something unreadable".to_owned(),
    }
}

/// What is rendered of a definition's map: the profiles it is read with are no part of it.
pub(crate) fn entries<'t>(
    form: Node<'t>,
    with_profiles: bool,
) -> impl Iterator<Item = (Node<'t>, Node<'t>)> + Clone {
    form.entries()
        .into_iter()
        .flatten()
        .filter(move |(key, _)| with_profiles || !key.is_keyword("profiles"))
}

/// Looks for what JSON cannot say without loss.
pub(crate) fn check_values(form: Node<'_>, with_profiles: bool, findings: &mut Findings) {
    let mut check = Check {
        is_read: !findings.is_broken(),
        findings,
        same: Same::default(),
        hashes: Vec::new(),
    };
    check.map(entries(form, with_profiles), &Step::Root);
}

/// The way to a value. Only a finding needs its text, so only a finding makes one.
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
    /// Whether all could be read, so that no key is there twice as it is written.
    is_read: bool,
    findings: &'f mut Findings,
    same: Same,
    /// Of the keys of one map; taken and given back, for its room.
    hashes: Vec<u128>,
}

impl Check<'_> {
    // The tree is at most as deep as the reader lets it be.
    fn value(&mut self, node: Node<'_>, step: &Step<'_>) {
        match node.tag() {
            Tag::List | Tag::Vector | Tag::Set => {
                self.code(node, step);
                for (n, item) in node.values().enumerate() {
                    self.value(item, &Step::Index(step, n));
                }
            }
            Tag::Map => self.map(node.entries().into_iter().flatten(), step),
            Tag::Number => self.number(node, step),
            Tag::Keyword => self.removal(node, step),
            Tag::Symbol => self.quotes(node, step),
            Tag::Uuid => {
                self.findings
                    .unsupported(node.span(), "`#uuid` cannot be rendered reliably")
                    .help("write the plain string")
                    .path(step.path().to_string());
            }
            Tag::Js => {
                self.findings
                    .unsupported(
                        node.span(),
                        "`#js` with a keyword, a symbol or a collection inside cannot be rendered reliably",
                    )
                    .help("write it without `#js`")
                    .path(step.path().to_string());
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
        let shown = crop(token);
        let message = if token.starts_with('#') {
            format!("`{shown}` has no form in JSON and would become null")
        } else if token.contains('/') {
            format!("`{shown}` divides by zero")
        } else {
            format!("`{shown}` is too large for a number of JSON")
        };
        self.findings
            .error(node.span(), message)
            .path(step.path().to_string());
    }

    /// What would be called in Clojure is data in a definition.
    fn code(&mut self, node: Node<'_>, step: &Step<'_>) {
        if !is_code(node) || self.findings.is_full_of_warnings() {
            return;
        }
        let first = node.values().next().map_or("", Node::written);
        self.findings
            .add(
                Severity::Warning,
                Level::Definition,
                node.span(),
                format!(
                    "`{}` is not called here: this is a list of texts",
                    crop(first)
                ),
            )
            .help("write the value itself, or a vector where a list is meant")
            .path(step.path().to_string());
    }

    /// In EDN single quotes quote nothing.
    fn quotes(&mut self, node: Node<'_>, step: &Step<'_>) {
        let written = node.written();
        if !written.starts_with('\'') || self.findings.is_full_of_warnings() {
            return;
        }
        self.findings
            .add(
                Severity::Warning,
                Level::Definition,
                node.span(),
                format!("the single quote is a part of the text `{}`", crop(written)),
            )
            .help("write strings in double quotes")
            .path(step.path().to_string());
    }

    /// What removes something in a profile is text where nothing is merged.
    fn removal(&mut self, node: Node<'_>, step: &Step<'_>) {
        let Kind::Keyword(name) = node.kind() else {
            return;
        };
        if !name.is_plain()
            && name.name() == "remove"
            && name
                .namespace()
                .is_some_and(|namespace| crate::mode::REMOVERS.contains(&namespace))
            && !self.findings.is_full_of_warnings()
        {
            self.findings
                .add(
                    Severity::Warning,
                    Level::Definition,
                    node.span(),
                    format!("`:{}` removes nothing here: it is the text `remove`", name.full),
                )
                .help("only what is merged over something can remove: put it into one of the `:profiles`")
                .path(step.path().to_string());
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
        // Keywords without namespaces are different as texts where they are different.
        let mut are_plain = true;
        for key in keys.clone() {
            match key.kind() {
                // Nearly all keys: nothing can be wrong with one.
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
                            format!("{} cannot be a key of a JSON object", describe(key)),
                        )
                        .path(step.path().to_string());
                }
                Some(text) if text == "__proto__" => {
                    self.findings
                        .error(key.span(), "the key `__proto__` would be lost")
                        .path(here.path().to_string());
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
                Some(text) => self.same.text(&text),
                None => self.same.identity(key),
            });
        }
        repeated(&hashes, |first, later| {
            if self.findings.is_full() {
                self.findings.leave_out();
                return;
            }
            let (Some(one), Some(key)) = (texts().nth(first), texts().nth(later)) else {
                return;
            };
            let text = key.key_text().unwrap_or_default();
            self.findings
                .error(
                    key.span(),
                    format!("becomes the same JSON key `{}` as another", crop(&text)),
                )
                .label(one.span(), "first defined here")
                .path(Step::Key(step, key).path().to_string());
        });
        self.hashes = hashes;
    }
}

/// Turns the map of a checked form into JSON.
pub(crate) fn lower_map(form: Node<'_>, with_profiles: bool) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in entries(form, with_profiles) {
        if let Some(text) = key.key_text() {
            map.insert(text.into_owned(), lower(value));
        }
    }
    map
}

// The tree is at most as deep as the reader lets it be.
pub(crate) fn lower(node: Node<'_>) -> Value {
    match node.kind() {
        Kind::Nil | Kind::Uuid | Kind::Js | Kind::Broken => Value::Null,
        Kind::Bool(value) => Value::Bool(value),
        Kind::Number(number) => json_number(number),
        Kind::Text(text) => Value::String(text.into_owned()),
        Kind::Instant(text) => Value::String(text.to_owned()),
        Kind::Keyword(name) => Value::String(name.name().to_owned()),
        Kind::Symbol(name) => Value::String(name.full.to_owned()),
        Kind::Items(items) => items.map(lower).collect(),
        Kind::Map(_) => Value::Object(lower_map(node, true)),
    }
}

/// A double as a JSON number: whole ones below 2^53 as integers, as the reference prints them.
pub(crate) fn json_number(number: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and below 2^53"
    )]
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
