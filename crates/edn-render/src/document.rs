//! A rendered definition: the document for PM2, and the position of each of its values.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use daemon_model::{
    Diagnostic, Diagnostics, Finding, PathSegment, Place, Secrecy, Span, is_env_like, is_known_key,
};
use serde_json::{Map, Value};

use crate::findings::{Lines, label, secrecy};
use crate::json;
use crate::lower::{entries, lower, lower_map};
use crate::part::{self, PartialApp};
use crate::secrets::{has_odd_env, is_odd_key};
use crate::tree::{Node, Tag, Tree};

/// A rendered definition, with the position of each of its values.
///
/// It is stored as parsed. [`Self::write_json`] and [`Self::apps`] traverse it value by value; [`Self::value`] builds the whole
/// value, which needs several times the memory for a large definition.
#[derive(Debug, Clone)]
pub struct Document {
    tree: Tree,
    /// Whether `:profiles` are part of it, rather than an input of rendering.
    with_profiles: bool,
    /// Whether it is a definition, which always has `apps`.
    with_apps: bool,
    value: OnceLock<Map<String, Value>>,
    /// Whether the value comes from another renderer, so that the tree only approximates positions.
    is_given: bool,
    /// The offset from which any text may belong to an environment, if the source cannot be parsed.
    doubtful_from: Option<usize>,
    source: Arc<[u8]>,
    lines: OnceLock<Lines>,
}

impl Document {
    pub(crate) fn new(tree: Tree, with_profiles: bool, with_apps: bool) -> Self {
        Self {
            source: Arc::from(Arc::clone(&tree.source)),
            tree,
            with_profiles,
            with_apps,
            value: OnceLock::new(),
            is_given: false,
            doubtful_from: None,
            lines: OnceLock::new(),
        }
    }

    /// The readable part of a source that cannot be parsed completely.
    pub(crate) fn partial(tree: Tree, doubtful_from: Option<usize>) -> Self {
        Self {
            doubtful_from,
            ..Self::new(tree, false, true)
        }
    }

    /// The same positions with another renderer's value.
    pub(crate) fn given(self, value: Map<String, Value>) -> Self {
        Self {
            value: OnceLock::from(value),
            is_given: true,
            ..self
        }
    }

    /// The value for PM2.
    #[must_use]
    pub fn value(&self) -> &Map<String, Value> {
        self.value.get_or_init(|| {
            let mut map = lower_map(self.tree.root(), self.with_profiles);
            if self.with_apps {
                let apps = map.entry("apps").or_insert(Value::Null);
                if !apps.is_array() {
                    *apps = Value::Array(Vec::new());
                }
            }
            map
        })
    }

    /// The value, if it has been built, so that access is free.
    fn made(&self) -> Option<&Map<String, Value>> {
        self.value.get()
    }

    /// One value of the document's map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Cow<'_, Value>> {
        if let Some(value) = self.made() {
            return value.get(key).map(Cow::Borrowed);
        }
        entries(self.tree.root(), self.with_profiles)
            .find(|(known, _)| known.key_text().as_deref() == Some(key))
            .map(|(_, value)| Cow::Owned(lower(value)))
    }

    /// Its apps, each built on demand; none for an app whose values exceed `most` bytes.
    pub fn apps(&self, most: usize) -> impl Iterator<Item = Option<Cow<'_, Value>>> {
        let made = self.made();
        let known = made
            .and_then(|value| value.get("apps"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|app| Some(Cow::Borrowed(app)));
        let root = self.tree.root();
        let nodes = if made.is_some() {
            None
        } else {
            root.get("apps")
        };
        let nodes = nodes.and_then(Node::items).into_iter().flatten();
        known.chain(nodes.map(move |app| (app.size() <= most).then(|| Cow::Owned(lower(app)))))
    }

    /// The apps of a [partial](crate::Rendered::partial) document that can be checked, each with its index. Apps that are not maps,
    /// and those whose values exceed `most` bytes, are omitted.
    pub fn partial_apps(&self, most: usize) -> impl Iterator<Item = (usize, PartialApp)> {
        let apps = self.tree.root().get("apps").and_then(Node::items);
        let apps = apps.into_iter().flatten().enumerate();
        apps.filter(move |(_, app)| app.size() <= most)
            .filter_map(|(index, app)| Some((index, part::of_app(app)?)))
    }

    /// Writes the text of [`crate::to_json`] for its [value](Self::value), in pieces.
    ///
    /// # Errors
    /// I/O errors of writing to `out`.
    pub fn write_json(&self, out: &mut dyn Write, header: Option<&str>) -> io::Result<()> {
        if self.is_given || !self.with_apps {
            return out.write_all(json::to_json(self.value(), header).as_bytes());
        }
        json::write_tree(out, self.tree.root(), self.with_profiles, header)
    }

    /// The text of [`crate::to_json`] for its [value](Self::value).
    #[must_use]
    pub fn to_json(&self, header: Option<&str>) -> String {
        // The text is about as long as the source.
        let mut text = Vec::with_capacity(self.source.len() + 256);
        // Cannot fail: it writes into memory, and only text.
        let _ = self.write_json(&mut text, header);
        String::from_utf8(text).unwrap_or_default()
    }

    /// An empty document, for findings about a definition without known positions.
    #[must_use]
    pub fn unplaced(source: &[u8]) -> Self {
        Self {
            source: source.into(),
            ..Self::new(Tree::empty("".into(), Span::new(0, 0)), false, false)
        }
    }

    /// As [`unplaced`](Self::unplaced), for findings about this part of the source.
    pub(crate) fn unplaced_at(source: &[u8], span: Span) -> Self {
        Self {
            tree: Tree::empty("".into(), span),
            ..Self::unplaced(source)
        }
    }

    fn lines(&self) -> &Lines {
        self.lines.get_or_init(|| Lines::new(&self.source))
    }

    /// Adds the position of a finding: that of the value or its key, else of the nearest enclosing value.
    #[must_use]
    pub fn diagnose(&self, finding: &Finding) -> Diagnostic {
        let (span, end) = self.place(&finding.path.0, finding.place);
        let mut diagnostic = Diagnostic::of_message(
            finding.severity,
            finding.level,
            (&finding.message, finding.help.as_ref()),
            &finding.path,
            match end {
                Some(end) => secrecy(&finding.path, finding.place, end, self.doubtful_from),
                None => Secrecy::Doubtful,
            },
        );
        diagnostic.span = Some(span);
        for second in &finding.labels {
            let (place, _) = self.place(&second.path.0, second.place);
            // Without a position of its own, the label would coincide with the finding.
            if span != place {
                diagnostic.labels.push(label((place, second.message)));
            }
        }
        self.lines().locate(&mut diagnostic, &self.source);
        diagnostic
    }

    /// Adds findings with their positions, and sorts all by position.
    pub fn diagnose_all<'f>(
        &self,
        findings: impl IntoIterator<Item = &'f Finding>,
        diagnostics: &mut Diagnostics,
    ) {
        for finding in findings {
            // Omitted findings need no positions.
            if diagnostics.is_full(finding.severity) {
                diagnostics.omit(finding.severity);
            } else {
                diagnostics.push(self.diagnose(finding));
            }
        }
        diagnostics.sort();
    }

    /// The position of the target of a path, and the end of what contains it: a finding about it quotes nothing behind that. None
    /// if a key on the path is probably not meant as a key.
    fn place(&self, path: &[PathSegment], place: Place) -> (Span, Option<usize>) {
        let mut node = self.tree.root();
        let mut span = node.span();
        span.end = span.start;
        let (mut is_odd, mut is_env) = (false, false);
        for (n, segment) in path.iter().enumerate() {
            let last = n + 1 == path.len();
            let found = match segment {
                PathSegment::Key(key) => node
                    .entries()
                    .into_iter()
                    .flatten()
                    .find(|(known, _)| known.key_text().as_deref() == Some(key)),
                PathSegment::Index(index) => node
                    .items()
                    .and_then(|mut items| items.nth(*index))
                    .map(|item| (item, item)),
            };
            let Some((key, next)) = found else {
                return (span, (!is_odd).then_some(node.span().end));
            };
            if let PathSegment::Key(name) = segment {
                is_odd |=
                    is_odd_key(key, is_env) || !is_known_key(name) && !is_env && has_odd_env(node);
                is_env = is_env_like(name);
            }
            node = next;
            let wanted = if last && place == Place::Key {
                key.span()
            } else {
                next.span()
            };
            // A value without text of its own is shown at the enclosing value.
            if wanted.end > wanted.start {
                span = wanted;
            }
        }
        let end = (!is_odd).then_some(node.span().end);
        // A whole app is marked at its opening bracket, because its text may be long.
        if node.tag() == Tag::Map && place == Place::Value && path.len() <= 2 {
            span.end = span.start + 1;
        }
        (span, end)
    }
}
