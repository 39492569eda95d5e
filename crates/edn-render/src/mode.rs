//! Renders variants of a definition: `:profiles` merged over it, single values set and removed.

use std::collections::{BTreeSet, HashMap};

use daemon_model::{Quoted, Span, message};

use crate::edit_tree::EditTree;
use crate::findings::Findings;
use crate::leaf::crop;
use crate::same::{ValueHasher, ValueKey};
use crate::tree::{Kind, Name, Node, Tag, Tree};

/// The namespaces in which the reference gives a keyword `remove` a meaning.
pub(crate) const REMOVERS: [&str; 4] = [DROP, "pm2-clj.dsl", "pm2-clj.merge", "pm2-clj.internal"];

/// The namespace that removes an app; the others remove a value.
const DROP: &str = "pm2-clj";

/// The names of the profiles a form has.
pub(crate) fn modes(form: Node<'_>) -> BTreeSet<String> {
    profiles(form).map(|(name, _)| name.to_owned()).collect()
}

fn profiles<'t>(form: Node<'t>) -> impl Iterator<Item = (&'t str, Node<'t>)> {
    let profiles = form.get("profiles").and_then(Node::entries);
    profiles
        .into_iter()
        .flatten()
        .filter_map(|(key, profile)| match key.kind() {
            Kind::Keyword(name) => Some((name.full, profile)),
            _ => None,
        })
}

/// The profile of a mode; none for the default mode.
pub(crate) fn normal(mode: Option<&str>) -> Option<&str> {
    mode.map(|mode| mode.trim().trim_start_matches(':'))
        .filter(|mode| !mode.is_empty() && *mode != "default")
}

/// A definition in a mode, without its `:profiles`, with values first set and then removed, in order.
pub(crate) fn variant(
    tree: &Tree,
    mode: Option<&str>,
    set: &[String],
    unset: &[String],
    findings: &mut Findings,
) -> Tree {
    let root = tree.root();
    let profile = mode.and_then(|mode| profiles(root).find(|(name, _)| *name == mode));
    let merged = match profile {
        Some((_, profile)) => Merge::default().deep(EditTree::Read(root), EditTree::Read(profile)),
        None => Some(EditTree::Read(root)),
    };
    let mut form = merged.unwrap_or_else(EditTree::nil);
    match form.entries_mut() {
        Some(entries) => entries.retain(|(key, _)| !key.is_keyword("profiles")),
        None => form = EditTree::nil(),
    }
    change(&mut form, set, unset, findings);
    form.finish(tree)
}

fn removes(tree: &EditTree<'_>, namespaces: &[&str]) -> bool {
    let EditTree::Read(node) = tree else {
        return false;
    };
    matches!(node.kind(), Kind::Keyword(name) if name.name() == "remove"
        && name.namespace().is_some_and(|namespace| namespaces.contains(&namespace)))
}

fn is_removal(tree: &EditTree<'_>) -> bool {
    removes(tree, &REMOVERS[1..])
}

#[derive(Default)]
struct Merge {
    hasher: ValueHasher,
}

impl Merge {
    /// The key of an unchanged value. A changed value has none.
    fn identity(&mut self, tree: &EditTree<'_>) -> Option<ValueKey> {
        match tree {
            EditTree::Read(node) => Some(self.hasher.identity(*node)),
            _ => None,
        }
    }

    /// Merges `over` over `base`; none if that removes the value.
    // The reader bounds the depth of the tree.
    fn deep<'t>(&mut self, base: EditTree<'t>, over: EditTree<'t>) -> Option<EditTree<'t>> {
        if is_removal(&over) {
            return None;
        }
        match (base.tag(), over.tag()) {
            (_, Tag::Nil) => Some(base),
            (Tag::Map, Tag::Map) => Some(self.maps(base, over)),
            (Tag::Vector, Tag::Vector) => {
                let (mut base, mut over) = (base, over);
                let span = base.span();
                if !are_named(&mut base, &mut over) {
                    return Some(over);
                }
                let items = [base, over]
                    .into_iter()
                    .flat_map(|mut list| list.items_mut().map(std::mem::take).unwrap_or_default());
                Some(EditTree::items(Tag::Vector, span, self.by_name(items)))
            }
            _ => Some(over),
        }
    }

    fn maps<'t>(&mut self, mut base: EditTree<'t>, mut over: EditTree<'t>) -> EditTree<'t> {
        let span = base.span();
        let take =
            |tree: &mut EditTree<'t>| tree.entries_mut().map(std::mem::take).unwrap_or_default();
        let (entries, others) = (take(&mut base), take(&mut over));
        let mut places = HashMap::with_capacity(entries.len());
        let mut merged: Vec<Option<(EditTree<'t>, EditTree<'t>)>> =
            Vec::with_capacity(entries.len());
        for (key, value) in entries {
            places.extend(self.identity(&key).map(|key| (key, merged.len())));
            merged.push(Some((key, value)));
        }
        for (key, value) in others {
            match self.identity(&key).and_then(|key| places.get(&key)) {
                Some(at) => {
                    merged[*at] = merged[*at].take().and_then(|(known, old)| {
                        self.deep(old, value).map(|merged| (known, merged))
                    });
                }
                None if is_removal(&value) => {}
                None => merged.push(Some((key, value))),
            }
        }
        EditTree::map(span, merged.into_iter().flatten().collect())
    }

    /// The elements of the base in order, then new ones, with unique names. Elements without a name stay where they are.
    fn by_name<'t>(&mut self, items: impl Iterator<Item = EditTree<'t>>) -> Vec<EditTree<'t>> {
        let mut merged: Vec<EditTree<'t>> = Vec::new();
        let mut places: HashMap<ValueKey, usize> = HashMap::new();
        for item in items {
            let name = item.get("name").filter(|name| name.tag() != Tag::Nil);
            let name = name.and_then(|name| self.identity(&name));
            match name.and_then(|name| places.get(&name)) {
                Some(at) => {
                    let old = std::mem::replace(&mut merged[*at], EditTree::nil());
                    // Both are maps, so neither removes the other.
                    if let Some(new) = self.deep(old, item) {
                        merged[*at] = new;
                    }
                }
                None => {
                    places.extend(name.map(|name| (name, merged.len())));
                    merged.push(item);
                }
            }
        }
        merged.retain_mut(|item| {
            let asks = |tree: &EditTree<'t>| removes(tree, &[DROP]);
            let has = match item {
                EditTree::Read(node) => node
                    .entries()
                    .into_iter()
                    .flatten()
                    .any(|(key, _)| asks(&EditTree::Read(key))),
                _ => true,
            };
            let Some(entries) = has.then(|| item.entries_mut()).flatten() else {
                return true;
            };
            let is_dropped = entries
                .iter()
                .any(|(key, value)| asks(key) && value.tag() == Tag::True);
            entries.retain(|(key, _)| !asks(key));
            !is_dropped
        });
        merged
    }
}

fn are_named<'t>(base: &mut EditTree<'t>, over: &mut EditTree<'t>) -> bool {
    let mut named = false;
    for list in [base, over] {
        for item in list.items_mut().into_iter().flatten() {
            if item.tag() != Tag::Map {
                return false;
            }
            named |= item.get("name").is_some();
        }
    }
    named
}

const NOWHERE: Span = Span { start: 0, end: 0 };

fn change(form: &mut EditTree<'_>, set: &[String], unset: &[String], findings: &mut Findings) {
    for argument in set {
        let mut refuse = |why: &'static str| {
            let path = crop(argument.split('=').next().unwrap_or_default());
            findings.error(NOWHERE, message!("`--set {}`: {}", Quoted(path), why));
        };
        let Some((path, value)) = argument.split_once('=') else {
            refuse("expected `path=value`");
            continue;
        };
        let path = segments(path);
        if path.is_empty() {
            refuse("there is no path before the `=`: expected `path=value`");
        } else if path.len() < 3 && path[0] == "apps" {
            refuse("expected `apps.<name>.<key>=value`");
        } else if path.len() > crate::reader::DEPTH {
            refuse("the path is too long");
        } else {
            match scalar(value) {
                Some(value) => set_value(form, &path, value),
                None => refuse("the value is too large for a JSON number"),
            }
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

/// A value as written for `--set`; none if it is a number that JSON cannot express.
fn scalar(text: &str) -> Option<EditTree<'static>> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let body = text.strip_prefix('-').unwrap_or(text);
    let is_number = match body.split_once('.') {
        None => digits(body),
        Some((head, fraction)) => digits(head) && digits(fraction),
    };
    let (tag, text) = match text {
        "true" => (Tag::True, String::new()),
        "false" => (Tag::False, String::new()),
        "null" => (Tag::Nil, String::new()),
        _ if is_number => {
            let number: f64 = text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())?;
            // Leading zeros would make it octal.
            (Tag::Number, number.to_string())
        }
        _ => (Tag::Text, text.to_owned()),
    };
    Some(EditTree::own(tag, &text))
}

/// The element of a map with the JSON key `segment`.
fn entry_at(entries: &[(EditTree<'_>, EditTree<'_>)], segment: &str) -> Option<usize> {
    let name = Name { full: segment }.name();
    entries
        .iter()
        .position(|(key, _)| key.key_text().as_deref() == Some(name))
}

fn app_at(form: &mut EditTree<'_>, name: &str) -> Option<usize> {
    apps_of(form)?
        .items_mut()?
        .iter()
        .position(|app| app.get("name").and_then(|name| name.key_text()).as_deref() == Some(name))
}

fn apps_of<'f, 't>(form: &'f mut EditTree<'t>) -> Option<&'f mut EditTree<'t>> {
    let entries = form.entries_mut()?;
    let (_, apps) = entries.iter_mut().find(|(key, _)| key.is_keyword("apps"))?;
    Some(apps)
}

/// The apps, as a vector that is created if necessary.
fn apps_mut<'f, 't>(form: &'f mut EditTree<'t>) -> Option<&'f mut Vec<EditTree<'t>>> {
    if apps_of(form).is_none() {
        form.entries_mut()?
            .push((EditTree::keyword("apps"), EditTree::nil()));
    }
    let apps = apps_of(form)?;
    if !matches!(apps.tag(), Tag::Vector | Tag::List | Tag::Set) {
        *apps = EditTree::items(Tag::Vector, apps.span(), Vec::new());
    }
    apps.items_mut()
}

fn set_value<'t>(form: &mut EditTree<'t>, path: &[String], value: EditTree<'t>) {
    if let [apps, name, rest @ ..] = path
        && apps == "apps"
    {
        let at = app_at(form, name);
        let Some(items) = apps_mut(form) else {
            return;
        };
        let at = at.unwrap_or_else(|| {
            let named = (EditTree::keyword("name"), EditTree::own(Tag::Text, name));
            items.push(EditTree::map(NOWHERE, vec![named]));
            items.len() - 1
        });
        if let Some(app) = items.get_mut(at) {
            put(app, rest, value);
        }
        return;
    }
    put(form, path, value);
}

fn put<'t>(tree: &mut EditTree<'t>, path: &[String], value: EditTree<'t>) {
    let Some((segment, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if tree.tag() != Tag::Map {
        *tree = EditTree::map(tree.span(), Vec::new());
    }
    let Some(entries) = tree.entries_mut() else {
        return;
    };
    let at = entry_at(entries, segment).unwrap_or_else(|| {
        entries.push((EditTree::keyword(segment), EditTree::nil()));
        entries.len() - 1
    });
    put(&mut entries[at].1, rest, value);
}

fn remove(form: &mut EditTree<'_>, path: &[String]) {
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

fn take(tree: &mut EditTree<'_>, path: &[String]) {
    let Some((segment, rest)) = path.split_first() else {
        return;
    };
    let Some(entries) = tree.entries_mut() else {
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
