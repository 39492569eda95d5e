//! Reads EDN process definitions and renders them to PM2 JSON configs.
//!
//! The flow: bytes are parsed into a tree with positions ([`read`]), a profile is merged over it, its structure is checked, and it
//! is lowered to the [`Document`] for PM2; [`to_json`] prints it, [`draw()`] shows diagnostics, and [`artifact`] stores it on disk.
//! [`print()`] is the inverse, from values to a definition. Everything except the artifact store is pure: the same input gives the
//! same bytes on every machine.
//!
//! ```
//! let source = b"{:apps [{:name \"api\" :script \"api.js\" :env {:PORT 80}}]}";
//! let rendered = edn_render::read(source, &edn_render::Options::default());
//! let document = rendered.document.expect("it has no errors");
//! assert_eq!(document.value()["apps"][0]["env"]["PORT"], 80);
//! print!("{}", edn_render::to_json(document.value(), None));
//! ```

pub mod artifact;
mod document;
mod draw;
mod edit_tree;
pub mod fallback;
mod findings;
mod instant;
mod json;
mod leaf;
mod lower;
mod mode;
mod part;
mod print;
mod reader;
mod same;
mod secrets;
mod tree;

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon_model::{Diagnostic, Diagnostics, Level, Quoted, Span, message};

pub use document::Document;
pub use draw::{DrawStyle, Excerpts, NOT_SHOWN, draw};
pub use json::{header, to_json};
pub use part::PartialApp;
pub use print::{Unprintable, print};

use findings::Findings;
use tree::{Tag, Tree};

/// Which variant of a definition to render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The mode, a key of `:profiles`; none, empty or `default`: no profile.
    pub mode: Option<String>,
    /// Values to set, as `path=value`.
    pub set: Vec<String>,
    /// Values to remove, as paths.
    pub unset: Vec<String>,
    /// Whether a mode that the definition does not have means the default mode, rather than an error.
    pub allow_missing_mode: bool,
}

/// The result of rendering.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The document; none if an error prevents rendering.
    pub document: Option<Document>,
    /// The parts that can be checked although the definition cannot be rendered: its [apps](Document::partial_apps). None if there
    /// is a document, if no apps can be read, if another renderer may accept what is wrong, or if a variant was requested.
    pub partial: Option<Document>,
    /// The findings, sorted by position.
    pub diagnostics: Diagnostics,
    /// The modes that the definition has.
    pub modes: BTreeSet<String>,
    /// Whether it has the requested mode.
    pub has_mode: bool,
    /// Whether the same bytes may render later: another renderer was asked and gave no answer.
    pub is_transient: bool,
}

impl Rendered {
    /// Whether another renderer may handle all errors of the definition.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let stops = |found: &&Diagnostic| found.is_error() && found.level != Level::Definition;
        let mut faults = self.diagnostics.iter().filter(stops).peekable();
        faults.peek().is_some()
            && faults.all(|found| found.level == Level::Unsupported)
            // Omitted findings may be of another kind.
            && self.diagnostics.omitted().errors == 0
    }
}

/// Renders a definition.
#[must_use]
pub fn read(source: &[u8], options: &Options) -> Rendered {
    let mut findings = Findings::default();
    let text = text_of(source, &mut findings);
    let tree = text
        .as_ref()
        .and_then(|text| reader::read(text, &mut findings));
    if findings.is_broken() {
        findings.doubt(source);
    }
    if let Some(code) = text.as_ref().and_then(reader::code) {
        // The source is code, so the findings of parsing it as data are meaningless.
        findings = Findings::default();
        findings.unsupported(
            code,
            "this is DSL code, which needs evaluation: expected a map with `:apps`",
        );
        return Rendered {
            document: None,
            partial: None,
            diagnostics: findings.finish(source),
            modes: BTreeSet::new(),
            has_mode: true,
            is_transient: false,
        };
    }
    let form = tree.as_ref().map(Tree::root);
    let modes = form.map(mode::modes).unwrap_or_default();
    let wanted = mode::normal(options.mode.as_deref());
    let has_mode = wanted.is_none_or(|wanted| modes.contains(wanted));
    if let (Some(wanted), Some(form)) = (wanted, form)
        && !has_mode
        && !options.allow_missing_mode
    {
        let known: Vec<String> = modes.iter().map(|mode| format!("`{mode}`")).collect();
        let known = known.join(", ");
        let place = form.get("profiles").unwrap_or(form).span().start;
        findings
            .error(
                Span::new(place, place + 1),
                message!("there is no mode `{}`", Quoted(wanted)),
            )
            .help(if known.is_empty() {
                "the definition has no `:profiles`".into()
            } else {
                message!("there are {}", Quoted(known))
            });
    }
    lower::check_structure(form, source.len(), &mut findings);
    let (document, unrendered) = match tree {
        Some(tree) if !findings.is_broken() => {
            match render(tree, wanted, options, source.len(), &mut findings) {
                Ok(document) => (Some(document), None),
                Err(tree) => (None, tree),
            }
        }
        // All errors are reported at once, unless another renderer may accept the definition.
        Some(tree) if wanted.is_none() && !findings.is_unsupported() => {
            lower::check_values(tree.root(), false, &mut findings);
            let is_plain = options.set.is_empty() && options.unset.is_empty();
            (None, is_plain.then_some(tree))
        }
        _ => (None, None),
    };
    let partial = unrendered
        .filter(|tree| !findings.has_unsupported() && part::has_apps(tree.root()))
        .map(|tree| Document::partial(tree, findings.doubtful_from()));
    Rendered {
        document,
        partial,
        diagnostics: findings.finish(source),
        modes,
        has_mode,
        is_transient: false,
    }
}

/// The document; else the parsed tree, unless a variant was requested.
fn render(
    tree: Tree,
    mode: Option<&str>,
    options: &Options,
    length: usize,
    findings: &mut Findings,
) -> Result<Document, Option<Tree>> {
    let varied = mode.is_some() || !options.set.is_empty() || !options.unset.is_empty();
    let tree = if varied {
        let tree = mode::variant(&tree, mode, &options.set, &options.unset, findings);
        let mut again = Findings::default();
        lower::check_structure(Some(tree.root()), length, &mut again);
        if again.is_broken() {
            *findings = again;
            return Err(None);
        }
        tree
    } else {
        tree
    };
    // A variant has no profiles, except those that were set in it.
    lower::check_apps_are_said(tree.root(), findings);
    lower::check_values(tree.root(), varied, findings);
    if findings.is_broken() {
        return Err((!varied).then_some(tree));
    }
    Ok(Document::new(tree, varied, true))
}

/// Reads a map that is not a definition, such as settings: all its values, with their positions.
///
/// # Errors
/// The diagnostics, sorted by position, when the source is not an EDN map.
pub fn read_map(source: &[u8]) -> Result<Document, Diagnostics> {
    let mut findings = Findings::default();
    let text = text_of(source, &mut findings);
    let tree = text.and_then(|text| {
        reader::read(&text, &mut findings)
            .or_else(|| (!findings.is_broken()).then(|| Tree::empty(text, Span::new(0, 0))))
    });
    let Some(tree) = tree else {
        return Err(findings.finish(source));
    };
    let root = tree.root();
    if root.tag() == Tag::Map {
        lower::check_values(root, true, &mut findings);
    } else if !findings.is_broken() {
        findings.error(root.span(), "expected a map");
    }
    if findings.is_broken() {
        return Err(findings.finish(source));
    }
    Ok(Document::new(tree, true, false))
}

fn text_of(source: &[u8], findings: &mut Findings) -> Option<Arc<str>> {
    match std::str::from_utf8(source) {
        Ok(text) => Some(text.into()),
        Err(error) => {
            let start = error.valid_up_to();
            let length = error.error_len().unwrap_or(source.len() - start).max(1);
            let found = findings.error(
                Span::new(start, start + length),
                "the file is not UTF-8 here",
            );
            found.help(match source {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it begins like UTF-16: save it as UTF-8",
                _ => "save the file as UTF-8",
            });
            None
        }
    }
}
