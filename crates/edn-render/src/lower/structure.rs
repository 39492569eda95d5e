//! Checks the structure of a definition: a map, and maps under its `:apps`.

use daemon_model::{DocumentPath, Level, Message, Quoted, Severity, Span, attribute, message};

use super::{describe, is_code};
use crate::findings::Findings;
use crate::leaf::crop;
use crate::tree::{Kind, Node, Tag};

/// Advice for an empty file, which must not mean "remove everything".
const EMPTY: &str = "restore its contents, or delete the file to remove the daemon";

/// Checks that the definition is a map, and that its `:apps` are maps.
pub(crate) fn check_structure(form: Option<Node<'_>>, end: usize, findings: &mut Findings) {
    let Some(form) = form else {
        if !findings.is_broken() {
            findings
                .error(
                    Span::new(end, end),
                    "the file is empty: expected a map with `:apps`",
                )
                .help(EMPTY);
        }
        return;
    };
    let Some(entries) = form.entries() else {
        let (message, help) = match form.tag() {
            Tag::Broken => return,
            Tag::Nil => (
                "the file contains only `nil`: expected a map with `:apps`",
                Some(EMPTY),
            ),
            Tag::Vector => (
                "expected a map with `:apps`, got a vector",
                Some("write `{:apps [...]}`"),
            ),
            _ => ("expected a map with `:apps`", None),
        };
        let found = findings.error(form.span(), message);
        if let Some(help) = help {
            found.help(help);
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
                    "only the keyword `:apps` is read: this would be lost",
                )
                .help("write `:apps`");
        } else {
            warn_unknown(key, has_apps, findings);
        }
    }
    if let Some(apps) = form.get("apps") {
        check_apps(apps, findings);
    }
}

/// Checks that a definition declares its apps. A definition without them is an error although it renders, because otherwise a typo
/// would remove a daemon. Only an empty `:apps []` means that nothing should run.
pub(crate) fn check_apps_are_said(form: Node<'_>, findings: &mut Findings) {
    let mut refuse = |span: Span, message: Message, help: &'static str| {
        findings
            .add(Severity::Error, Level::Definition, span, message)
            .help(help);
    };
    if let Some(apps) = form.get("apps") {
        match apps.kind() {
            Kind::Items(items) if items.clone().next().is_none() => {
                warn_no_apps(apps.span(), findings);
            }
            // `check_apps` reports other values.
            kind if is_nothing(&kind) => refuse(
                apps.span(),
                message!("`:apps` has to be a vector of maps, not {}", describe(apps)),
                "list the daemon's apps; an empty vector, `:apps []`, says that nothing should run",
            ),
            _ => {}
        }
        return;
    }
    // A key without a value, and another spelling of `:apps`, are errors already.
    let keys = || form.values().step_by(2);
    let texts = || keys().filter_map(Node::key_text);
    if texts().any(|text| text == "apps") {
        return;
    }
    let is_like = |key: &Node<'_>| {
        let text = key.key_text();
        text.is_some_and(|text| attribute::nearest_beside_apps(&text) == Some("apps"))
    };
    if texts().any(|text| attribute::find(&text).is_some()) {
        refuse(
            opening(form),
            "has no `:apps`: this is an app without the map around it".into(),
            "write `{:apps [{...}]}`, with this map in the vector",
        );
    } else if let Some(key) = keys().find(is_like) {
        let message = message!("has no `:apps`, but `{}`", Quoted(crop(key.written())));
        refuse(key.span(), message, "write `:apps`");
    } else if form.get("profiles").is_some() {
        refuse(
            opening(form),
            "has no `:apps` outside of its `:profiles`".into(),
            "write `:apps []` beside `:profiles` if nothing should run without a mode",
        );
    } else {
        refuse(
            opening(form),
            "has no `:apps`".into(),
            "list the daemon's apps: `{:apps [{:name \"...\" :script \"...\"}]}`; to remove the daemon, delete the file",
        );
    }
}

/// Whether the reference reads a value of `:apps` as no apps, although it is not an empty list.
fn is_nothing(kind: &Kind<'_>) -> bool {
    match kind {
        Kind::Nil => true,
        Kind::Text(text) => text.is_empty(),
        Kind::Map(entries) => entries.clone().next().is_none(),
        _ => false,
    }
}

/// PM2 and pm2-sync read only a few keys beside `:apps`; others are merely printed.
fn warn_unknown(key: Node<'_>, has_apps: bool, findings: &mut Findings) {
    let Some(text) = key.key_text() else {
        return;
    };
    let is_known = matches!(&*text, "apps" | "deploy") || key.is_keyword("profiles");
    if is_known || findings.leaves_out(Severity::Warning) {
        return;
    }
    let shown = Quoted(crop(key.written()));
    // An app without the enclosing map is refused as a whole.
    if !has_apps && attribute::find(&text).is_some() {
        return;
    }
    let (message, help) = if text == "static" {
        (
            message!("pm2-sync serves no files: `{}` has no effect", shown),
            Some("write an app that serves them".into()),
        )
    } else {
        let near = attribute::nearest_beside_apps(&text);
        if !has_apps && matches!(near, Some("apps") | None) {
            // The missing apps are reported anyway.
            return;
        }
        let help = match (near, attribute::find(&text)) {
            (Some(near), _) => Some(message!("did you mean `:{}`?", near)),
            (None, Some(_)) => Some(message!(
                "it is an attribute of an app: write `:{}` into each map of `:apps`",
                Quoted(&text)
            )),
            (None, None) => None,
        };
        (
            message!("unknown key `{}` beside `:apps`: PM2 ignores it", shown),
            help,
        )
    };
    let found = findings.add(Severity::Warning, Level::Definition, key.span(), message);
    let found = found.key(key, DocumentPath::root().key(text));
    if let Some(help) = help {
        found.help(help);
    }
}

/// The message for a definition that declares no apps.
pub(crate) const NO_APPS: &str = "defines no apps, so that no process of this daemon runs";

fn warn_no_apps(span: Span, findings: &mut Findings) {
    findings.add(Severity::Warning, Level::Definition, span, NO_APPS);
}

/// The first bracket of a form.
fn opening(form: Node<'_>) -> Span {
    let start = form.span().start;
    Span::new(start, start + 1)
}

fn check_apps(apps: Node<'_>, findings: &mut Findings) {
    if is_code(apps) {
        findings
            .unsupported(
                apps.span(),
                "this is DSL code, which needs evaluation: expected a vector of maps",
            )
            .value(DocumentPath::root().key("apps"));
        return;
    }
    let items = match apps.kind() {
        Kind::Items(items) => Some(items),
        kind if is_nothing(&kind) => None,
        Kind::Broken => return,
        _ => {
            let found = findings
                .error(
                    apps.span(),
                    message!("expected a vector of maps, got {}", describe(apps)),
                )
                .value(DocumentPath::root().key("apps"));
            if apps.tag() == Tag::Map {
                found.help("put it into a vector: `:apps [{...}]`");
            }
            return;
        }
    };
    for (n, app) in items.into_iter().flatten().enumerate() {
        if is_code(app) {
            findings
                .unsupported(
                    app.span(),
                    "this is DSL code, which needs evaluation: expected a map",
                )
                .value(DocumentPath::root().key("apps").index(n));
        } else if !matches!(app.tag(), Tag::Map | Tag::Broken) {
            findings
                .error(
                    app.span(),
                    message!("expected a map, got {}", describe(app)),
                )
                .value(DocumentPath::root().key("apps").index(n));
        }
    }
}
