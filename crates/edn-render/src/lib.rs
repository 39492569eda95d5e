//! Reads EDN process definitions and renders them to PM2 JSON configs.
//!
//! The flow: bytes are read into a tree with places ([`read`]), a profile is merged over it, its structure is
//! checked and it is lowered to the [`Document`] that PM2 reads; [`to_json`] prints it, [`draw()`] shows what is
//! wrong with it, and [`artifact`] keeps it on disk. All but the last is pure: the same input gives the same bytes
//! on every machine.
//!
//! ```
//! let source = b"{:apps [{:name \"api\" :script \"api.js\" :env {:PORT 80}}]}";
//! let rendered = edn_render::read(source, &edn_render::Options::default());
//! let document = rendered.document.expect("it has no errors");
//! assert_eq!(document.value()["apps"][0]["env"]["PORT"], 80);
//! print!("{}", edn_render::to_json(document.value(), None));
//! ```

pub mod artifact;
mod compare;
mod draw;
pub mod fallback;
mod findings;
mod instant;
mod json;
mod leaf;
mod lower;
mod mode;
mod reader;
mod tree;

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{Diagnostic, Finding, Level, PathSegment, Place, Span};
use serde_json::{Map, Value};

pub use compare::{Difference, differences};
pub use draw::{DrawStyle, draw};
pub use findings::MAX_FINDINGS;
pub use json::{header, to_json};

use findings::{Findings, Lines};
use tree::{Kind, Node};

/// Which variant of a definition to render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which of `:profiles` to merge over it; none, empty or `default`: none of them.
    pub mode: Option<String>,
    /// Values to set, as `path=value`.
    pub set: Vec<String>,
    /// Values to remove, as paths.
    pub unset: Vec<String>,
    /// Whether a mode that the definition does not have is the default one, rather than an error.
    pub allow_missing_mode: bool,
}

/// What rendering gave.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The document; none when something is wrong with the definition that rendering cannot pass over.
    pub document: Option<Document>,
    /// What was found, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// The modes that the definition has.
    pub modes: BTreeSet<String>,
    /// Whether it has the mode that was asked for.
    pub has_mode: bool,
    /// Whether the same bytes may render at another time: another renderer was asked and gave no answer.
    pub may_pass: bool,
}

impl Rendered {
    /// Whether nothing is wrong with the definition but what another renderer may be able to do.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let mut faults = self
            .diagnostics
            .iter()
            .filter(|found| found.is_error() && found.level != Level::Definition)
            .peekable();
        faults.peek().is_some() && faults.all(|found| found.level == Level::Unsupported)
    }
}

/// A rendered definition, with the place of each of its values.
#[derive(Debug, Clone)]
pub struct Document {
    value: Map<String, Value>,
    tree: Node,
    lines: Lines,
    source: Arc<[u8]>,
}

impl Document {
    /// What PM2 reads.
    #[must_use]
    pub fn value(&self) -> &Map<String, Value> {
        &self.value
    }

    /// A document of nothing, for findings about a definition whose places are not known.
    #[must_use]
    pub fn unplaced(source: &[u8]) -> Self {
        Self {
            value: Map::new(),
            tree: Node::new(Kind::Map(Vec::new()), Span::new(0, 0)),
            lines: Lines::new(source),
            source: source.into(),
        }
    }

    /// A finding tied to its place: the value's or its key's, else the nearest around it.
    #[must_use]
    pub fn diagnose(&self, finding: &Finding) -> Diagnostic {
        let mut diagnostic =
            Diagnostic::new(finding.severity, finding.level, finding.message.clone())
                .at_path(finding.path.to_string());
        diagnostic.help.clone_from(&finding.help);
        diagnostic.span = Some(self.place(&finding.path.0, finding.place));
        self.lines.locate(&mut diagnostic, &self.source);
        diagnostic
    }

    fn place(&self, path: &[PathSegment], place: Place) -> Span {
        let mut node = &self.tree;
        let mut span = Span::new(node.span.start, node.span.start);
        for (n, segment) in path.iter().enumerate() {
            let last = n + 1 == path.len();
            let found = match (segment, &node.kind) {
                (PathSegment::Key(key), Kind::Map(entries)) => entries
                    .iter()
                    .find(|(known, _)| known.key_text().as_ref() == Some(key))
                    .map(|(known, value)| (known.span, value)),
                (PathSegment::Index(index), _) => node
                    .items()
                    .and_then(|items| items.get(*index))
                    .map(|item| (item.span, item)),
                _ => None,
            };
            let Some((key_span, next)) = found else {
                return span;
            };
            node = next;
            let wanted = if last && place == Place::Key {
                key_span
            } else {
                next.span
            };
            // What no text stands for is shown at what is around it.
            if wanted.end > wanted.start {
                span = wanted;
            }
        }
        // A whole app is marked at its opening bracket: its text may be long.
        if matches!(node.kind, Kind::Map(_)) && place == Place::Value && path.len() <= 2 {
            span.end = span.start + 1;
        }
        span
    }
}

/// Renders a definition.
#[must_use]
pub fn read(source: &[u8], options: &Options) -> Rendered {
    let mut findings = Findings::default();
    let form = read_form(source, &mut findings);
    if let Some(code) = std::str::from_utf8(source).ok().and_then(reader::code) {
        // Code is no data, so what reading it as data finds says nothing.
        findings = Findings::default();
        findings.unsupported(
            code,
            "this is DSL code, which needs evaluation: expected a map with `:apps`",
        );
        return Rendered {
            document: None,
            diagnostics: findings.finish(source),
            modes: BTreeSet::new(),
            has_mode: true,
            may_pass: false,
        };
    }
    let modes = form.as_ref().map(mode::modes).unwrap_or_default();
    let wanted = mode::normal(options.mode.as_deref());
    let has_mode = wanted.is_none_or(|wanted| modes.contains(wanted));
    if let (Some(wanted), Some(form)) = (wanted, &form)
        && !has_mode
        && !options.allow_missing_mode
    {
        let known: Vec<String> = modes.iter().map(|mode| format!("`{mode}`")).collect();
        let place = form
            .get("profiles")
            .map_or(form.span.start, |profiles| profiles.span.start);
        findings
            .error(
                Span::new(place, place + 1),
                format!("there is no mode `{wanted}`"),
            )
            .help(if known.is_empty() {
                "the definition has no `:profiles`".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            });
    }
    lower::check_structure(form.as_ref(), source.len(), &mut findings);
    let document = form
        .filter(|_| !findings.is_broken())
        .and_then(|form| render(form, wanted, options, source, &mut findings));
    Rendered {
        document,
        diagnostics: findings.finish(source),
        modes,
        has_mode,
        may_pass: false,
    }
}

fn render(
    form: Node,
    mode: Option<&str>,
    options: &Options,
    source: &[u8],
    findings: &mut Findings,
) -> Option<Document> {
    let varied = mode.is_some() || !options.set.is_empty() || !options.unset.is_empty();
    let mut tree = mode::in_mode(form, mode);
    mode::change(&mut tree, &options.set, &options.unset, findings);
    if varied {
        let mut again = Findings::default();
        lower::check_structure(Some(&tree), source.len(), &mut again);
        if again.is_broken() {
            *findings = again;
            return None;
        }
    }
    let value = lower::lower_document(&tree, findings);
    (!findings.is_broken()).then(|| Document {
        value,
        tree,
        lines: Lines::new(source),
        source: source.into(),
    })
}

/// Reads a map that is no definition, such as settings: all its values, with their places.
///
/// # Errors
/// What is wrong with it, sorted by place.
pub fn read_map(source: &[u8]) -> Result<Document, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let form = read_form(source, &mut findings);
    let tree = match form {
        Some(form) if matches!(form.kind, Kind::Map(_)) => form,
        Some(form) => {
            if !findings.is_broken() {
                findings.error(form.span, "expected a map");
            }
            return Err(findings.finish(source));
        }
        None if findings.is_broken() => return Err(findings.finish(source)),
        None => Node::new(Kind::Map(Vec::new()), Span::new(0, 0)),
    };
    let value = lower::lower_map_value(&tree, &mut findings);
    if findings.is_broken() {
        return Err(findings.finish(source));
    }
    Ok(Document {
        value,
        tree,
        lines: Lines::new(source),
        source: source.into(),
    })
}

fn read_form(source: &[u8], findings: &mut Findings) -> Option<Node> {
    match std::str::from_utf8(source) {
        Ok(text) => reader::read(text, findings),
        Err(error) => {
            let start = error.valid_up_to();
            let length = error.error_len().unwrap_or(source.len() - start).max(1);
            findings.error(
                Span::new(start, start + length),
                "the file is not UTF-8 here",
            );
            None
        }
    }
}
