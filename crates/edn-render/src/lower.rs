//! From a tree to the document that PM2 reads, as the reference does it.

use daemon_model::{DocumentPath, Level, Severity, Span};
use serde_json::{Map, Number, Value};

use crate::findings::Findings;
use crate::reader::crop;
use crate::tree::{Kind, Node};

/// Checks that the whole is a definition, and puts its `:apps` right. Without findings of errors it is one.
pub(crate) fn check_structure(form: Option<&Node>, end: usize, findings: &mut Findings) {
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
    let Kind::Map(entries) = &form.kind else {
        let message = match &form.kind {
            Kind::Broken => return,
            Kind::Nil => "the file holds `nil`: a definition is a map with `:apps`",
            _ => "a definition is a map with `:apps`",
        };
        findings.error(form.span, message);
        return;
    };
    for (key, _) in entries {
        if key.key_text().as_deref() == Some("apps") && !key.is_keyword("apps")
            || matches!(&key.kind, Kind::Symbol(name) if name.name == "apps")
        {
            findings.error(
                key.span,
                "only the keyword `:apps` is read: what stands here would be lost",
            );
        }
    }
    match form.get("apps") {
        None if findings.is_broken() => {}
        None => warn_no_apps(Span::new(form.span.start, form.span.start + 1), findings),
        Some(apps) => check_apps(apps, findings),
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

fn check_apps(apps: &Node, findings: &mut Findings) {
    let is_code = matches!(&apps.kind, Kind::List(items)
        if items.first().is_some_and(|first| matches!(first.kind, Kind::Symbol(_))));
    if is_code {
        findings
            .unsupported(
                apps.span,
                "this is DSL code, which needs evaluation: expected a vector of maps",
            )
            .path("apps");
        return;
    }
    let items: &[Node] = match &apps.kind {
        Kind::Nil => &[],
        Kind::Text(text) if text.is_empty() => &[],
        Kind::Map(entries) if entries.is_empty() => &[],
        Kind::Broken => return,
        _ => match apps.items() {
            Some(items) => items,
            None => {
                findings
                    .error(
                        apps.span,
                        format!("expected a vector of maps, got {}", describe(apps)),
                    )
                    .path("apps");
                return;
            }
        },
    };
    if items.is_empty() {
        warn_no_apps(apps.span, findings);
    }
    for (n, app) in items.iter().enumerate() {
        if !matches!(app.kind, Kind::Map(_) | Kind::Broken) {
            findings
                .error(app.span, format!("expected a map, got {}", describe(app)))
                .path(format!("apps[{n}]"));
        }
    }
}

/// A value for a message.
pub(crate) fn describe(node: &Node) -> String {
    match &node.kind {
        Kind::Nil => "nil".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(_) => "a number".to_owned(),
        Kind::Text(text) => format!("the string {:?}", crop(text)),
        Kind::Instant(_) => "an instant".to_owned(),
        Kind::Keyword(name) => format!("the keyword `:{}`", crop(&name.full())),
        Kind::Symbol(name) => format!("the symbol `{}`", crop(&name.full())),
        Kind::List(_) => "a list".to_owned(),
        Kind::Vector(_) => "a vector".to_owned(),
        Kind::Set(_) => "a set".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Broken => "something unreadable".to_owned(),
    }
}

/// Turns a checked form into the document. What JSON cannot say without loss is a finding.
pub(crate) fn lower_document(form: &Node, findings: &mut Findings) -> Map<String, Value> {
    let mut document = lower_map_value(form, findings);
    let apps = document.entry("apps").or_insert(Value::Null);
    if !apps.is_array() {
        *apps = Value::Array(Vec::new());
    }
    document
}

/// The same for a map that need not have `:apps`.
pub(crate) fn lower_map_value(form: &Node, findings: &mut Findings) -> Map<String, Value> {
    match lower(form, &Step::Root, findings) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The way to a value. Only a finding needs its text, so only a finding makes one.
enum Step<'a> {
    Root,
    Key(&'a Step<'a>, &'a str),
    Index(&'a Step<'a>, usize),
}

impl Step<'_> {
    fn path(&self) -> DocumentPath {
        match self {
            Self::Root => DocumentPath::root(),
            Self::Key(parent, key) => parent.path().key(*key),
            Self::Index(parent, index) => parent.path().index(*index),
        }
    }
}

// The tree is at most as deep as the reader lets it be.
fn lower(node: &Node, step: &Step<'_>, findings: &mut Findings) -> Value {
    match &node.kind {
        Kind::Nil | Kind::Broken => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(number) => json_number(*number),
        Kind::Text(text) | Kind::Instant(text) => Value::String(text.clone()),
        Kind::Keyword(name) => Value::String(name.name.clone()),
        Kind::Symbol(name) => Value::String(name.full()),
        Kind::List(items) | Kind::Vector(items) | Kind::Set(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| lower(item, &Step::Index(step, n), findings))
            .collect(),
        Kind::Map(entries) => lower_map(entries, step, findings),
    }
}

fn lower_map(entries: &[(Node, Node)], step: &Step<'_>, findings: &mut Findings) -> Value {
    let mut map = Map::with_capacity(entries.len());
    for (n, (key, value)) in entries.iter().enumerate() {
        let Some(text) = key.key_text() else {
            if key.kind != Kind::Broken {
                findings
                    .unsupported(
                        key.span,
                        format!("{} cannot be a key of a JSON object", describe(key)),
                    )
                    .path(step.path().to_string());
            }
            continue;
        };
        let here = Step::Key(step, &text);
        if text == "__proto__" {
            findings
                .error(key.span, "the key `__proto__` would be lost")
                .path(here.path().to_string());
        }
        if map.contains_key(&text) {
            let same = |other: &&(Node, Node)| other.0.key_text().as_ref() == Some(&text);
            let first = entries[..n]
                .iter()
                .take(if findings.is_full() { 0 } else { n })
                .find(same)
                .map_or(key.span, |(first, _)| first.span);
            findings
                .error(
                    key.span,
                    format!("becomes the same JSON key `{}` as another", crop(&text)),
                )
                .label(first, "first defined here")
                .path(here.path().to_string());
            continue;
        }
        let value = lower(value, &here, findings);
        map.insert(text, value);
    }
    Value::Object(map)
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
