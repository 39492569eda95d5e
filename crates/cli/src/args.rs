//! The command line.

mod command;
mod decide;
mod import;

use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use daemon_model::RemovalCode;
use reconcile::Overrides;

use crate::commands::completions::{self, Shell};
use crate::report::json::OutputName;
use crate::since::Since;

/// The version, and the commit of this build, if known.
const VERSION: &str = env!("PM2_SYNC_VERSION");

pub use decide::{
    ActArgs, HistoryCommand, HoldCommand, RollbackCommand, StopCommand, TermsArgs, WaitArgs,
};
pub use import::{ImportCommand, InitCommand};

/// Keep what PM2 runs in sync with definitions in your repository.
#[derive(Debug, Parser)]
#[command(name = "pm2-sync", version = VERSION, about, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Flags common to all commands.
    #[command(flatten)]
    pub global: GlobalArgs,
}

// No doc comment: clap would show it as the command's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The workspace [default: the nearest parent directory with system/daemons or pm2-sync.edn]
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub workspace: Option<Utf8PathBuf>,
    /// PM2's home [default: $PM2_HOME, then ~/.pm2]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub pm2_home: Option<Utf8PathBuf>,
    /// The pm2 command [default: $PM2_SYNC_PM2, then the nearest node_modules/.bin/pm2, then PATH]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub pm2: Option<Utf8PathBuf>,
    /// Output format
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Short for --format json
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Print reasons and values in full
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print data and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl GlobalArgs {
    /// The output format.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.json {
            true => Format::Json,
            false => self.format,
        }
    }

    /// The settings that these arguments override.
    #[must_use]
    pub fn overrides(&self, variant: &VariantArgs) -> Overrides {
        Overrides {
            workspace: self.workspace.clone(),
            pm2_home: self.pm2_home.clone(),
            pm2: self.pm2.clone(),
            mode: variant.mode.clone(),
            env: variant.env.clone(),
            renderer: variant.renderer.into(),
        }
    }
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable text
    Text,
    /// One JSON object with "version": 1
    Json,
    /// GitHub Actions annotations, for `check` only
    Github,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The command to run.
// Deferred: only the arguments of the selected command are built.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Show what sync would do, and why; change nothing
    Plan(PlanCommand),
    /// Reconcile PM2 with the definitions
    Sync(SyncCommand),
    /// Show the state of every app
    Status(StatusCommand),
    /// Sync, then reconcile continuously
    Watch(WatchCommand),
    /// Run the watcher in the background, under PM2
    Up(UpCommand),
    /// Stop the watcher that runs under PM2; the daemons keep running, unless --all
    Down(DownCommand),
    /// Stop daemons, and keep them stopped until `start`
    Stop(StopCommand),
    /// Start daemons that were stopped with `stop`
    Start(ActArgs),
    /// Restart daemons now, and wait until they are ready
    Restart(ActArgs),
    /// Report edits and drift of daemons without applying them, until `release`
    Hold(HoldCommand),
    /// End a hold or a rollback, and apply the definition
    Release(ActArgs),
    /// Go back to an older entry of the history, until `release` or an edit
    Rollback(RollbackCommand),
    /// Show what was applied, when, by whom, and whether it worked
    History(HistoryCommand),
    /// Validate all definitions; needs no PM2
    Check(CheckCommand),
    /// Convert PM2 configs or running processes to definitions
    Import(ImportCommand),
    /// Create a workspace with one definition
    Init(InitCommand),
    /// Write the generated PM2 configs
    Render(RenderCommand),
    /// Diagnose the setup; change nothing
    Doctor(DoctorCommand),
    /// Print the logs of apps, interleaved by time
    Logs(LogsCommand),
    /// Print a JSON Schema
    Schema(SchemaCommand),
    /// Print a completion script for a shell
    Completions(CompletionsCommand),
}

/// Selects a variant of the definitions.
#[derive(Debug, Clone, Default, Args)]
pub struct VariantArgs {
    /// Profile from :profiles to merge over the definitions
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Name of the env_NAME block to merge over env
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Renderer to use
    #[arg(long, value_enum, default_value_t = RendererChoice::Auto)]
    pub renderer: RendererChoice,
}

impl VariantArgs {
    /// The same flags as words of a command line.
    #[must_use]
    pub fn to_flags(&self) -> Vec<String> {
        let renderer = Some(self.renderer).filter(|it| *it != RendererChoice::default());
        let renderer = renderer.and_then(|it| Some(it.to_possible_value()?.get_name().to_owned()));
        [
            ("--mode", self.mode.clone()),
            ("--env", self.env.clone()),
            ("--renderer", renderer),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
        .flatten()
        .collect()
    }
}

/// Which renderer to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RendererChoice {
    /// pm2-sync, then the configured pm2-clj for definitions that pm2-sync cannot render
    #[default]
    Auto,
    /// pm2-sync only; runs no other program
    Native,
    /// The configured pm2-clj, for every valid definition
    Pm2Clj,
}

impl From<RendererChoice> for edn_render::fallback::Renderer {
    fn from(choice: RendererChoice) -> Self {
        match choice {
            RendererChoice::Auto => Self::Auto,
            RendererChoice::Native => Self::Native,
            RendererChoice::Pm2Clj => Self::Other,
        }
    }
}

/// `render`
#[derive(Debug, Args)]
pub struct RenderCommand {
    /// Daemons to render, by ID, folder, glob, path or app name [default: all]; an argument that ends in .edn is a file
    #[arg(value_name = "ID|FILE.edn", add = ArgValueCompleter::new(completions::ids_and_files))]
    pub targets: Vec<String>,
    /// Print the configs; write nothing
    #[arg(long)]
    pub stdout: bool,
    /// Write nothing; exit with 2 when a generated config is missing or out of date
    #[arg(long, conflicts_with = "stdout")]
    pub check: bool,
    /// Confirm the held removal
    #[arg(long, value_name = "CODE", conflicts_with_all = ["stdout", "check"])]
    pub confirm: Option<RemovalCode>,
    /// Change a value: `apps.<name>.<key>=<value>`, or a path from the root
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Remove a value, or a whole app with `apps.<name>`
    #[arg(long, value_name = "PATH")]
    pub unset: Vec<String>,
    /// Show values of environment variables in messages
    #[arg(long)]
    pub show_values: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// A yes-or-no choice. Its values have no doc comments of their own, because `--help` would print them for each option that takes
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Never,
}

/// Arguments that affect the plan.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// Whether to remove processes without a definition
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub prune: When,
    /// Whether to adopt unmanaged processes with a matching name
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub adopt: When,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
}

/// Arguments common to `plan` and `sync`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Daemons to reconcile, by ID, folder, glob, path or app name [default: all]
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    /// Confirm the held removal
    #[arg(long, value_name = "CODE")]
    pub confirm: Option<RemovalCode>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub policy: PolicyArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanCommand {
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// Arguments for executing steps.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Maximum number of daemons processed in parallel
    #[arg(long, value_name = "N", default_value = "4")]
    pub jobs: NonZeroUsize,
    /// Do not save PM2's process list for `pm2 resurrect`
    #[arg(long)]
    pub no_save: bool,
    /// Seconds to wait for another pm2-sync to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lock_timeout: u64,
}

/// `sync`
#[derive(Debug, Args)]
pub struct SyncCommand {
    /// Print the plan; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Retry apps that did not become ready
    #[arg(long)]
    pub retry: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub wait: WaitArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub plan: PlanArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub apply: ApplyArgs,
}

/// `watch`
#[derive(Debug, Args)]
pub struct WatchCommand {
    /// Apply edits only; do not revert changes made to PM2 by hand
    #[arg(long)]
    pub no_heal: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub policy: PolicyArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub apply: ApplyArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorCommand {}

/// `up`
#[derive(Debug, Args)]
pub struct UpCommand {
    /// Apply edits only; do not revert changes made to PM2 by hand
    #[arg(long)]
    pub no_heal: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `down`
#[derive(Debug, Args)]
pub struct DownCommand {
    /// Also remove every managed process of the workspace from PM2; asks first
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long, requires = "all")]
    pub yes: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusCommand {
    /// Daemons to show, by ID, folder, glob, path or app name [default: all]
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
    /// Keep the table up to date until stopped
    #[arg(short, long)]
    pub follow: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckCommand {
    /// Daemons to check, by ID, folder, glob, path or app name [default: all]; an argument that ends in .edn is a file
    #[arg(value_name = "ID|FILE.edn", add = ArgValueCompleter::new(completions::ids_and_files))]
    pub targets: Vec<String>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Check again whenever a definition changes, until stopped
    #[arg(long)]
    pub watch: bool,
    /// Do not read env files; treat their variables as present
    #[arg(long)]
    pub no_env_files: bool,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `logs`
#[derive(Debug, Args)]
pub struct LogsCommand {
    /// Apps whose logs to print, by ID, folder, glob, path or app name [default: all]
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    /// Keep printing new lines until stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Print the last N lines of each app [default: 10; all with --since]
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Print error logs only
    #[arg(long)]
    pub err: bool,
    /// Print only lines since TIME: `10m`, `2h`, `12:00`, `2026-01-31 12:00`
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsCommand {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// `schema`
#[derive(Debug, Args)]
pub struct SchemaCommand {
    /// Output to describe [default: the generated configs]
    #[arg(long, value_enum, value_name = "NAME")]
    pub output: Option<OutputName>,
}
