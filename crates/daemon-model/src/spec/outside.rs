//! External values of an app: from env files, and in place of `${NAME}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camino::Utf8Path;
use serde_json::{Map, Value};

use super::read::Findings;
use super::{AppSpec, Ignored, Inherited, POLICY_KEY};
use crate::finding::{DocumentPath, Place};
use crate::values::{
    ENV_FILE_KEY, EnvFile, EnvFileProblem, EnvFileState, INTERPOLATE_KEY, NamedFile, Syntax,
    Template, Unresolved, ValueKey, Values, named_files,
};
use crate::{Field, HIDDEN, Message, Ours, Quoted, message};

/// The source of a value: env files as named in the definition, or `:pass-env`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin(Vec<String>);

impl Origin {
    fn add(&mut self, source: &str) {
        if !self.0.iter().any(|known| known == source) {
            self.0.push(source.to_owned());
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The external values of an app.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outside {
    pub(super) variables: BTreeMap<String, Origin>,
    /// Attributes as written.
    pub(super) written: BTreeMap<&'static str, (Value, Origin)>,
    pub(super) key: Option<ValueKey>,
}

impl Outside {
    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.written.is_empty()
    }

    pub(super) fn origin(&self, field: &Field) -> Option<&Origin> {
        match field {
            Field::Env(name) => self.variables.get(name),
            Field::Attribute(name) => self.written.get(name).map(|(_, origin)| origin),
        }
    }
}

/// The sources for an app's references.
pub(super) struct Sources<'a> {
    values: &'a Values,
    files: Vec<NamedFile>,
    /// Variables of the files, and which file the last value came from.
    pub(super) variables: BTreeMap<String, (String, usize)>,
    pub(super) interpolates: bool,
    /// Whether everything is known, so that a missing name has no value.
    is_complete: bool,
    pub(super) outside: Outside,
}

impl<'a> Sources<'a> {
    /// Reads the sources that the app refers to.
    pub(super) fn new(
        app: &Map<String, Value>,
        path: &DocumentPath,
        (root, values): (&Utf8Path, &'a Values),
        findings: &mut Findings,
    ) -> Self {
        let mut sources = Self {
            values,
            files: Vec::new(),
            variables: BTreeMap::new(),
            interpolates: interpolates(app).unwrap_or(values.interpolates()),
            is_complete: !values.is_assumed(),
            outside: Outside {
                key: values.key().cloned(),
                ..Outside::default()
            },
        };
        for file in named_files(app, root) {
            let place = path.key(ENV_FILE_KEY);
            match file {
                Ok(file) => sources.add_file(file, &place, findings),
                Err(misread) => {
                    sources.is_complete = false;
                    let place = misread
                        .index
                        .map_or(place.clone(), |index| place.index(index));
                    let (place, at) = match &misread.key {
                        Some(key) => (place.key(key), Place::Key),
                        None => (place, Place::Value),
                    };
                    findings.error(&place, at, message!("expected {}", misread.expected));
                }
            }
        }
        sources
    }

    fn add_file(&mut self, file: NamedFile, place: &DocumentPath, findings: &mut Findings) {
        let place = file.index.map_or(place.clone(), |index| place.index(index));
        let shown = shown(&file.written);
        let state = self
            .values
            .file(&file.path)
            .filter(|_| !self.values.is_assumed());
        let number = self.files.len();
        match state {
            Some(EnvFileState::Present(content)) => {
                for problem in self.take(content, number) {
                    self.is_complete = false;
                    findings.error(&place, Place::Value, at_line(&shown, &problem));
                }
                for warning in &content.warnings {
                    findings.warning(&place, Place::Value, at_line(&shown, warning), None);
                }
            }
            Some(EnvFileState::Unusable(problems)) => {
                self.is_complete = false;
                for problem in problems {
                    findings.error(&place, Place::Value, at_line(&shown, problem));
                }
            }
            Some(EnvFileState::Absent) if !file.is_required => {}
            None if self.values.is_assumed() => {}
            Some(EnvFileState::Absent) | None => {
                self.is_complete = false;
                let message = message!("`{}` does not exist", shown);
                let help = message!(
                    "create it, or write `{{:path \"{}\" :required false}}` if it may be absent",
                    shown
                );
                findings.error_with_help(&place, Place::Value, message, help);
            }
        }
        self.files.push(file);
    }

    /// Adds the variables of a file. References in it resolve to variables of its earlier lines, of earlier files, and to those
    /// named by `:pass-env`.
    fn take(&mut self, file: &EnvFile, number: usize) -> Vec<EnvFileProblem> {
        let mut problems = Vec::new();
        for variable in &file.variables {
            let value = variable.value.resolve(&|name| self.value(name));
            match value {
                Ok(value) => {
                    self.variables
                        .insert(variable.name.clone(), (value, number));
                }
                Err(unresolved) => problems.push(EnvFileProblem {
                    line: Some(variable.line),
                    message: self.of_file(&unresolved),
                }),
            }
        }
        problems
    }

    fn value(&self, name: &str) -> Option<&str> {
        let of_files = self.variables.get(name).map(|(value, _)| value.as_str());
        of_files.or_else(|| self.values.passed(name))
    }

    /// The message for an unresolved reference in an env file. It names the variable only if the settings name it too: the text
    /// after a dollar sign may be part of a password.
    fn of_file(&self, unresolved: &Unresolved) -> String {
        let why = match self.values.is_missing(&unresolved.name) {
            true => format!(
                "refers to `{}` from `:pass-env`, which is not set here",
                unresolved.name
            ),
            false => "refers to a variable that is not set above, in an earlier env file or by `:pass-env`".to_owned(),
        };
        format!("{why}; write `$$` for a dollar sign, or put the value in single quotes")
    }

    /// The text with its references replaced, if it has any and replacement is enabled. A reference that cannot be resolved stays,
    /// with a finding.
    pub(super) fn replace(
        &self,
        text: &str,
        place: impl FnOnce() -> DocumentPath,
        findings: &mut Findings,
    ) -> Option<(String, Origin)> {
        if !self.interpolates || !text.contains('$') {
            return None;
        }
        let template = match Template::parse(text, Syntax::Braces) {
            Ok(template) => template,
            Err(error) => {
                let message = message!(
                    "`{}` is not one of the forms `${{NAME}}`, `${{NAME:-default}}` and `${{NAME:?message}}`",
                    Quoted(error.written)
                );
                let help = "write `$$` for a dollar sign";
                findings.error_with_help(&place(), Place::Value, message, help);
                return None;
            }
        };
        let origin = self.origin(&template);
        if !self.is_complete && template.has_references() {
            return Some((template.as_written(), origin));
        }
        match template.resolve(&|name| self.value(name)) {
            Ok(text) => Some((text, origin)),
            Err(unresolved) => {
                let (message, help) = self.of_definition(&unresolved);
                findings.error_with_help(&place(), Place::Value, message, help);
                None
            }
        }
    }

    /// The message for an unresolved reference in the definition, and which file could set it.
    fn of_definition(&self, unresolved: &Unresolved) -> (Message, Message) {
        let name = Ours(&unresolved.name);
        let message = match &unresolved.message {
            Some(message) if !message.is_empty() => {
                message!("`{}` has no value: {}", name, Quoted(message))
            }
            _ if self.value(&unresolved.name).is_some() => message!("`{}` is empty", name),
            _ if self.values.is_missing(&unresolved.name) => message!(
                "`{}` has no value: `:pass-env` names it, but it is not set here",
                name
            ),
            _ if self.files.is_empty() => message!(
                "`{}` has no value: the app names no env file, and `:pass-env` does not name it",
                name
            ),
            _ => message!("`{}` has no value: no env file of the app sets it", name),
        };
        let help = match self.files.last() {
            Some(file) => message!("add `{}=...` to `{}`", name, shown(&file.written)),
            None => message!("name a file in `:env_file` that sets `{}`", name),
        };
        (message, help)
    }

    fn origin(&self, template: &Template) -> Origin {
        let mut origin = Origin::default();
        for name in template.names() {
            match self.variables.get(name) {
                Some((_, number)) => self.add_origin(*number, &mut origin),
                None if self.values.passed(name).is_some() => origin.add(":pass-env"),
                None => {}
            }
        }
        origin
    }

    fn add_origin(&self, number: usize, origin: &mut Origin) {
        if let Some(file) = self.files.get(number) {
            origin.add(&file.written);
        }
    }

    /// Replaces the references in a text attribute.
    pub(super) fn replace_text(
        &mut self,
        name: &'static str,
        text: String,
        place: impl FnOnce() -> DocumentPath,
        findings: &mut Findings,
    ) -> String {
        match self.replace(&text, place, findings) {
            Some((replaced, origin)) => {
                self.note(name, Value::String(text), origin);
                replaced
            }
            None => text,
        }
    }

    /// Replaces the references in each argument separately: a value is never split into words.
    pub(super) fn replace_words(
        &mut self,
        name: &'static str,
        words: &mut Value,
        place: impl Fn(usize) -> DocumentPath,
        findings: &mut Findings,
    ) {
        let Value::Array(items) = words else {
            return;
        };
        if !self.interpolates {
            return;
        }
        let mut replaced = items.clone();
        let mut all = Origin::default();
        for (n, item) in replaced.iter_mut().enumerate() {
            if let Value::String(text) = item
                && let Some((value, origin)) = self.replace(text, || place(n), findings)
            {
                origin.0.iter().for_each(|source| all.add(source));
                *text = value;
            }
        }
        if replaced != *items {
            let written = std::mem::replace(words, Value::Array(replaced));
            self.note(name, written, all);
        }
    }

    /// Records an attribute with an external value. If only `$$` was replaced, there is none.
    fn note(&mut self, name: &'static str, written: Value, origin: Origin) {
        if origin != Origin::default() || self.values.is_assumed() {
            self.outside.written.insert(name, (written, origin));
        }
    }

    /// The variables of the env files, on which an app's environment is based.
    pub(super) fn environment(&mut self) -> BTreeMap<String, Value> {
        let mut env = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for (name, (value, number)) in &self.variables {
            let mut origin = Origin::default();
            self.add_origin(*number, &mut origin);
            origins.insert(name.clone(), origin);
            env.insert(name.clone(), Value::String(value.clone()));
        }
        self.outside.variables = origins;
        env
    }

    /// The value of a variable of the definition with its references replaced.
    pub(super) fn variable(
        &mut self,
        name: &str,
        value: Value,
        place: impl FnOnce() -> DocumentPath,
        findings: &mut Findings,
    ) -> Value {
        let replaced = match value.as_str() {
            Some(text) => self.replace(text, place, findings),
            None => None,
        };
        match replaced {
            Some((text, origin)) if origin != Origin::default() => {
                self.outside.variables.insert(name.to_owned(), origin);
                Value::String(text)
            }
            replaced => {
                self.outside.variables.remove(name);
                replaced.map_or(value, |(text, _)| Value::String(text))
            }
        }
    }
}

/// The message for a problem in an env file, with its position.
fn at_line(file: &Message, problem: &EnvFileProblem) -> Message {
    let why = Ours(&problem.message);
    match problem.line {
        Some(line) => message!("`{}:{}`: {}", *file, line, why),
        None => message!("`{}`: {}", *file, why),
    }
}

/// The path of an env file for a message. Text that looks like the content of a file may be just that, and is hidden.
fn shown(written: &str) -> Message {
    let is_content = written.contains(['=', '\n']);
    message!("{}", Ours(if is_content { HIDDEN } else { written }))
}

/// Whether `${NAME}` is replaced, if the app itself chooses.
pub(super) fn interpolates(app: &Map<String, Value>) -> Option<bool> {
    app.get(POLICY_KEY)?.get(INTERPOLATE_KEY)?.as_bool()
}

/// Problems of the env files that an app names, each with its line, and whether it is an error. Missing files have no line.
#[must_use]
pub fn env_file_problems(
    app: &Value,
    root: &Utf8Path,
    values: &Values,
) -> Vec<(String, EnvFileProblem, bool)> {
    let Some(app) = app.as_object().filter(|_| !values.is_assumed()) else {
        return Vec::new();
    };
    let mut ignored = Findings::default();
    let path = DocumentPath::root();
    let mut sources = Sources::new(&Map::new(), &path, (root, values), &mut ignored);
    let mut problems = Vec::new();
    for file in named_files(app, root).into_iter().flatten() {
        let mut add = |problem: &EnvFileProblem, is_error| {
            problems.push((file.written.clone(), problem.clone(), is_error));
        };
        match values.file(&file.path) {
            Some(EnvFileState::Present(content)) => {
                sources.take(content, 0).iter().for_each(|it| add(it, true));
                content.warnings.iter().for_each(|it| add(it, false));
            }
            Some(EnvFileState::Unusable(found)) => found.iter().for_each(|it| add(it, true)),
            _ => {}
        }
    }
    problems
}

impl AppSpec {
    /// The source of a value, if it is external.
    #[must_use]
    pub fn origin(&self, field: &Field) -> Option<&Origin> {
        self.0.outside.as_deref()?.origin(field)
    }

    /// The attributes with a value that is at least partly external.
    pub fn outside(&self) -> impl Iterator<Item = &'static str> {
        let outside = self.0.outside.as_deref().into_iter();
        outside.flat_map(|outside| outside.written.keys().copied())
    }

    /// An attribute as written in the definition, if its value is external: this form may be shown.
    #[must_use]
    pub fn written(&self, attribute: &str) -> Option<&Value> {
        let written = &self.0.outside.as_deref()?.written;
        written.get(attribute).map(|(written, _)| written)
    }

    /// The same app, for a step taken by a caller who lacks variables named by `:pass-env`: those in `kept` have the values that
    /// PM2 has recorded, those in `lacking` have none.
    #[must_use]
    pub fn with_inherited(
        &self,
        kept: BTreeMap<String, String>,
        lacking: BTreeSet<String>,
    ) -> Self {
        let mut content = (*self.0).clone();
        content.inherited = Ignored(Some(Box::new(Inherited { kept, lacking })));
        Self(content.into())
    }

    /// Variables that the caller lacks, with the values that PM2 has recorded.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        let inherited = self.0.inherited.0.as_deref().into_iter();
        let kept = inherited.flat_map(|inherited| &inherited.kept);
        kept.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Variables that `:pass-env` names and that a new process will not have.
    pub fn lacking(&self) -> impl Iterator<Item = &str> {
        let inherited = self.0.inherited.0.as_deref().into_iter();
        let lacking = inherited.flat_map(|inherited| &inherited.lacking);
        lacking.map(String::as_str)
    }
}
