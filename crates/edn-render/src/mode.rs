//! Variants of a definition: `:profiles` merged over it, single values set and removed.

use std::collections::BTreeSet;

use daemon_model::Span;

use crate::findings::Findings;
use crate::tree::{Kind, Name, Node};

/// The names of the profiles a form has.
pub(crate) fn modes(form: &Node) -> BTreeSet<String> {
    match form.get("profiles").map(|profiles| &profiles.kind) {
        Some(Kind::Map(entries)) => entries
            .iter()
            .filter_map(|(key, _)| match &key.kind {
                Kind::Keyword(name) => Some(name.full()),
                _ => None,
            })
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// The profile of a mode; none for the default mode.
pub(crate) fn normal(mode: Option<&str>) -> Option<&str> {
    mode.map(|mode| mode.trim().trim_start_matches(':'))
        .filter(|mode| !mode.is_empty() && *mode != "default")
}

/// The form in a mode, without its `:profiles`.
pub(crate) fn in_mode(form: Node, mode: Option<&str>) -> Node {
    let profile = mode.and_then(|mode| {
        let Kind::Map(entries) = &form.get("profiles")?.kind else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| matches!(&key.kind, Kind::Keyword(name) if name.full() == mode))
            .map(|(_, profile)| profile.clone())
    });
    let merged = match profile {
        Some(profile) => deep_merge(form, profile),
        None => Some(form),
    };
    let Some(Node {
        kind: Kind::Map(mut entries),
        span,
    }) = merged
    else {
        return Node::new(Kind::Nil, Span::new(0, 0));
    };
    entries.retain(|(key, _)| !key.is_keyword("profiles"));
    Node::new(Kind::Map(entries), span)
}

fn is_removal(node: &Node) -> bool {
    matches!(&node.kind, Kind::Keyword(name)
        if name.name == "remove"
            && matches!(name.namespace.as_deref(), Some("pm2-clj.dsl" | "pm2-clj.merge" | "pm2-clj.internal")))
}

/// `over` merged over `base`; none when it removes it.
fn deep_merge(base: Node, over: Node) -> Option<Node> {
    if is_removal(&over) {
        return None;
    }
    match (base.kind, over.kind) {
        (base_kind, Kind::Nil) => Some(Node::new(base_kind, base.span)),
        (Kind::Map(mut entries), Kind::Map(others)) => {
            for (key, value) in others {
                let identity = key.identity();
                let at = entries
                    .iter()
                    .position(|(known, _)| known.identity() == identity);
                match at {
                    Some(at) => {
                        let (known, old) = entries.remove(at);
                        if let Some(merged) = deep_merge(old, value) {
                            entries.insert(at, (known, merged));
                        }
                    }
                    None if is_removal(&value) => {}
                    None => entries.push((key, value)),
                }
            }
            Some(Node::new(Kind::Map(entries), base.span))
        }
        (Kind::Vector(items), Kind::Vector(others)) if are_named(&items, &others) => Some(
            Node::new(Kind::Vector(merge_by_name(items, others)), base.span),
        ),
        (_, kind) => Some(Node::new(kind, over.span)),
    }
}

fn are_named(items: &[Node], others: &[Node]) -> bool {
    let all = || items.iter().chain(others);
    all().all(|item| matches!(item.kind, Kind::Map(_)))
        && all().any(|item| item.get("name").is_some())
}

fn name_of(app: &Node) -> Option<String> {
    app.get("name")
        .filter(|name| name.kind != Kind::Nil)
        .map(Node::identity)
}

/// Base order, then what is new; each name once. Elements without a name stay where they are.
fn merge_by_name(items: Vec<Node>, others: Vec<Node>) -> Vec<Node> {
    let mut merged: Vec<Node> = Vec::new();
    for item in items.into_iter().chain(others) {
        let name = name_of(&item);
        let at = name.as_ref().and_then(|name| {
            merged
                .iter()
                .position(|known| name_of(known).as_ref() == Some(name))
        });
        match at {
            Some(at) => {
                let old = merged.remove(at);
                if let Some(new) = deep_merge(old, item) {
                    merged.insert(at, new);
                }
            }
            None => merged.push(item),
        }
    }
    merged.retain(|item| !is_dropped(item));
    for item in &mut merged {
        if let Kind::Map(entries) = &mut item.kind {
            entries.retain(|(key, _)| !is_drop_key(key));
        }
    }
    merged
}

fn is_drop_key(key: &Node) -> bool {
    matches!(&key.kind, Kind::Keyword(name)
        if name.name == "remove" && name.namespace.as_deref() == Some("pm2-clj"))
}

/// Whether an app asks to be dropped: `:pm2-clj/remove true`.
fn is_dropped(item: &Node) -> bool {
    match &item.kind {
        Kind::Map(entries) => entries
            .iter()
            .any(|(key, value)| is_drop_key(key) && value.kind == Kind::Bool(true)),
        _ => false,
    }
}

const NOWHERE: Span = Span { start: 0, end: 0 };

/// Carries out `--set` and then `--unset`, each in order.
pub(crate) fn change(form: &mut Node, set: &[String], unset: &[String], findings: &mut Findings) {
    for argument in set {
        let Some((path, value)) = argument.split_once('=') else {
            findings.error(
                NOWHERE,
                format!("`--set {argument}`: expected `path=value`"),
            );
            continue;
        };
        let path = segments(path);
        if path.len() < 3 && path.first().map(String::as_str) == Some("apps") {
            findings.error(
                NOWHERE,
                format!("`--set {argument}`: expected `apps.<name>.<key>=value`"),
            );
        } else if !path.is_empty() {
            set_value(form, &path, scalar(value));
        }
    }
    for argument in unset {
        remove(form, &segments(argument));
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|segment| !segment.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// A segment `a/b` is the key `b`.
fn key_of(segment: &str) -> Name {
    match segment.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Name {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        _ => Name::plain(segment),
    }
}

fn scalar(text: &str) -> Node {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let body = text.strip_prefix('-').unwrap_or(text);
    let is_number = match body.split_once('.') {
        None => digits(body),
        Some((head, fraction)) => digits(head) && digits(fraction),
    };
    let kind = match text {
        "true" => Kind::Bool(true),
        "false" => Kind::Bool(false),
        "null" => Kind::Nil,
        _ if is_number => text
            .parse()
            .map_or_else(|_| Kind::Text(text.to_owned()), Kind::Number),
        _ => Kind::Text(text.to_owned()),
    };
    Node::new(kind, NOWHERE)
}

fn keyword(name: Name) -> Node {
    Node::new(Kind::Keyword(name), NOWHERE)
}

/// The element of a map under the JSON key of `segment`.
fn entry_at(entries: &[(Node, Node)], segment: &str) -> Option<usize> {
    let name = key_of(segment).name;
    entries
        .iter()
        .position(|(key, _)| key.key_text().as_deref() == Some(&name))
}

fn app_at(form: &Node, name: &str) -> Option<usize> {
    form.get("apps")?
        .items()?
        .iter()
        .position(|app| app.get("name").and_then(Node::key_text).as_deref() == Some(name))
}

fn apps_mut(form: &mut Node) -> Option<&mut Vec<Node>> {
    let Kind::Map(entries) = &mut form.kind else {
        return None;
    };
    if !entries.iter().any(|(key, _)| key.is_keyword("apps")) {
        entries.push((keyword(Name::plain("apps")), Node::new(Kind::Nil, NOWHERE)));
    }
    let (_, apps) = entries.iter_mut().find(|(key, _)| key.is_keyword("apps"))?;
    if !matches!(apps.kind, Kind::Vector(_) | Kind::List(_) | Kind::Set(_)) {
        apps.kind = Kind::Vector(Vec::new());
    }
    match &mut apps.kind {
        Kind::Vector(items) | Kind::List(items) | Kind::Set(items) => Some(items),
        _ => None,
    }
}

fn set_value(form: &mut Node, path: &[String], value: Node) {
    if let [apps, name, rest @ ..] = path
        && apps == "apps"
    {
        let at = app_at(form, name);
        let Some(items) = apps_mut(form) else {
            return;
        };
        let at = at.unwrap_or_else(|| {
            let named = (
                keyword(Name::plain("name")),
                Node::new(Kind::Text(name.clone()), NOWHERE),
            );
            items.push(Node::new(Kind::Map(vec![named]), NOWHERE));
            items.len() - 1
        });
        if let Some(app) = items.get_mut(at) {
            put(app, rest, value);
        }
        return;
    }
    put(form, path, value);
}

fn put(node: &mut Node, path: &[String], value: Node) {
    let Some((segment, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    if !matches!(node.kind, Kind::Map(_)) {
        node.kind = Kind::Map(Vec::new());
    }
    let Kind::Map(entries) = &mut node.kind else {
        return;
    };
    let at = entry_at(entries, segment).unwrap_or_else(|| {
        entries.push((keyword(key_of(segment)), Node::new(Kind::Nil, NOWHERE)));
        entries.len() - 1
    });
    put(&mut entries[at].1, rest, value);
}

fn remove(form: &mut Node, path: &[String]) {
    if let [apps, name, rest @ ..] = path
        && apps == "apps"
    {
        let Some(at) = app_at(form, name) else {
            return;
        };
        let Some(items) = apps_mut(form) else {
            return;
        };
        if rest.is_empty() {
            items.remove(at);
        } else if let Some(app) = items.get_mut(at) {
            take(app, rest);
        }
        return;
    }
    take(form, path);
}

fn take(node: &mut Node, path: &[String]) {
    let Kind::Map(entries) = &mut node.kind else {
        return;
    };
    let Some((segment, rest)) = path.split_first() else {
        return;
    };
    let Some(at) = entry_at(entries, segment) else {
        return;
    };
    if rest.is_empty() {
        entries.remove(at);
    } else {
        take(&mut entries[at].1, rest);
    }
}
