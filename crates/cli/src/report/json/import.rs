//! `import` and `init`

use reconcile::import::{Import, Note, PlaceState};
use reconcile::init::Initialized;
use schemars::JsonSchema;
use serde::Serialize;

use super::{DiagnosticOutput, Output};

/// What `import` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportOutput {
    /// The definitions.
    pub definitions: Vec<ImportedDefinitionOutput>,
    /// The env files that secrets were moved to.
    pub env_files: Vec<ImportedEnvFileOutput>,
    /// Notes about the import.
    pub notes: Vec<ImportNoteOutput>,
    /// Findings about the definitions.
    pub diagnostics: Vec<DiagnosticOutput>,
}

/// A definition that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportedDefinitionOutput {
    /// The daemon's ID.
    pub daemon: String,
    /// The file, relative to the workspace.
    pub file: String,
    /// The names of its apps.
    pub apps: Vec<String>,
    /// The outcome.
    pub outcome: ImportOutcomeOutput,
    /// Its text, with `--dry-run` only. It holds the values of variables.
    pub text: Option<String>,
}

/// An env file that secrets were moved to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportedEnvFileOutput {
    /// The file, relative to the workspace.
    pub file: String,
    /// The names of its variables.
    pub variables: Vec<String>,
    /// The apps that refer to it.
    pub apps: Vec<String>,
    /// The outcome.
    pub outcome: ImportOutcomeOutput,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImportOutcomeOutput {
    /// It was written.
    Written,
    /// It would be written without `--dry-run`.
    New,
    /// It exists with the same content.
    Unchanged,
    /// It exists with other content, and stays.
    Exists,
}

/// A note about an import.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportNoteOutput {
    /// What kind of note it is, for example `from-environment`.
    pub code: String,
    /// The app that it is about.
    pub app: Option<String>,
    /// The variables, attributes or keys that it is about.
    pub names: Vec<String>,
    /// Whether something could not be imported unchanged.
    pub warning: bool,
    /// The note in words.
    pub message: String,
}

impl ImportOutput {
    /// The definitions that were or would be written.
    #[must_use]
    pub fn new(import: &Import, is_dry_run: bool, diagnostics: Vec<DiagnosticOutput>) -> Self {
        let outcome = |place| match place {
            PlaceState::Free if is_dry_run => ImportOutcomeOutput::New,
            PlaceState::Free => ImportOutcomeOutput::Written,
            PlaceState::Same => ImportOutcomeOutput::Unchanged,
            PlaceState::Taken => ImportOutcomeOutput::Exists,
        };
        let definitions = import.definitions.iter();
        let definitions = definitions.map(|definition| ImportedDefinitionOutput {
            daemon: definition.id.to_string(),
            file: definition.name.to_string(),
            apps: definition.apps.clone(),
            outcome: outcome(definition.place),
            text: is_dry_run.then(|| definition.text.clone()),
        });
        let env_files = import.env_files.iter().map(|file| ImportedEnvFileOutput {
            file: file.name.to_string(),
            variables: file.variables.clone(),
            apps: file.apps.clone(),
            outcome: outcome(file.place),
        });
        Self {
            definitions: definitions.collect(),
            env_files: env_files.collect(),
            notes: import.notes.iter().map(Into::into).collect(),
            diagnostics,
        }
    }
}

impl From<&Note> for ImportNoteOutput {
    fn from(note: &Note) -> Self {
        Self {
            code: note.code().to_owned(),
            app: note.app().map(ToOwned::to_owned),
            names: note.names().into_iter().map(ToOwned::to_owned).collect(),
            warning: note.is_warning(),
            message: note.to_string(),
        }
    }
}

impl Output for ImportOutput {
    const COMMAND: &'static str = "import";
}

/// What `init` wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InitOutput {
    /// The root of the workspace.
    pub workspace: String,
    /// The daemon's ID.
    pub daemon: String,
    /// Its definition, relative to the workspace.
    pub file: String,
    /// Its script, relative to the workspace.
    pub script: String,
    /// The next commands to run.
    pub next: Vec<String>,
}

impl InitOutput {
    /// The result, and the next commands to run.
    #[must_use]
    pub fn new(made: &Initialized, next: Vec<String>) -> Self {
        Self {
            workspace: made.root.to_string(),
            daemon: made.id.to_string(),
            file: made.definition.to_string(),
            script: made.script.to_string(),
            next,
        }
    }
}

impl Output for InitOutput {
    const COMMAND: &'static str = "init";
}
