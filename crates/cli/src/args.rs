//! The command line.

use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps PM2's running set equal to a directory of definitions.
#[derive(Debug, Parser)]
#[command(name = "pm2-sync", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Settings of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// Settings of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// The workspace; default: the nearest directory upwards that holds system/daemons or pm2-sync.edn
    #[arg(long, global = true, value_name = "DIR")]
    pub workspace: Option<Utf8PathBuf>,
    /// PM2's home; default: $PM2_HOME, else ~/.pm2
    #[arg(long, global = true, value_name = "DIR")]
    pub pm2_home: Option<Utf8PathBuf>,
    /// The pm2 command; default: $PM2_SYNC_PM2, the nearest node_modules/.bin/pm2, PATH
    #[arg(long, global = true, value_name = "PATH")]
    pub pm2: Option<Utf8PathBuf>,
    /// How to print data
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Say more: reasons in full
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Say less: errors and data only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object with `"version": 1`.
    Json,
    /// Annotations of GitHub Actions; for `check` only.
    Github,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the generated PM2 configs
    Render(RenderCommand),
    /// Print every step that sync would take, and why; touch nothing
    Plan(PlanCommand),
    /// Make PM2 run what the definitions say
    Sync(SyncCommand),
    /// Sync, then keep it so until stopped
    Watch(WatchCommand),
    /// Show every app: wanted, running, in sync or why not
    Status(StatusCommand),
    /// Validate all definitions without PM2
    Check(CheckCommand),
    /// Check the environment and say what to do
    Doctor(DoctorCommand),
    /// Make sure that the watcher itself runs under PM2
    Up(UpCommand),
    /// Stop the watcher that runs under PM2; the daemons keep running
    Down(DownCommand),
    /// Print the JSON Schema of the generated configs
    Schema,
}

/// Which variant of the definitions.
#[derive(Debug, Clone, Default, Args)]
pub struct VariantArgs {
    /// Which of :profiles to merge over the definitions
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Which env_NAME block to merge over env
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Who renders: pm2-sync itself, pm2-clj, or pm2-clj for what pm2-sync cannot do
    #[arg(long, value_enum, default_value_t = RendererChoice::Auto)]
    pub renderer: RendererChoice,
}

/// Who renders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RendererChoice {
    /// pm2-sync, and the configured pm2-clj for what it cannot do.
    #[default]
    Auto,
    /// pm2-sync only.
    Native,
    /// The configured pm2-clj, for all that is not broken.
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
    /// Daemons to render (default: all); an argument that ends in .edn is a file
    #[arg(value_name = "ID|FILE.edn")]
    pub targets: Vec<String>,
    /// Print instead of writing
    #[arg(long)]
    pub stdout: bool,
    /// Write nothing; exit 2 when a generated config is missing or stale
    #[arg(long, conflicts_with = "stdout")]
    pub check: bool,
    /// Write nothing; render with both pm2-sync and pm2-clj and print what differs
    #[arg(long, conflicts_with_all = ["stdout", "check", "set", "unset", "renderer"])]
    pub parity: bool,
    /// Confirm a held removal
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["stdout", "check", "parity"])]
    pub confirm: Option<String>,
    /// Change a value: `apps.<name>.<key>=<value>`, or a path from the top
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Remove a value, or the app for `apps.<name>`
    #[arg(long, value_name = "PATH")]
    pub unset: Vec<String>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// Whether something is done at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Yes, as the rules say.
    Auto,
    /// No.
    Never,
}

/// What a plan depends on.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// Whether processes without a definition are removed
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub prune: When,
    /// Whether processes that someone else started under a declared name are taken over
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub adopt: When,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanCommand {
    /// Daemons to look at (default: all)
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Confirm a held removal
    #[arg(long, value_name = "PLAN")]
    pub confirm: Option<String>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub policy: PolicyArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// How steps are carried out.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// How many daemons proceed side by side
    #[arg(long, value_name = "N", default_value = "4")]
    pub jobs: NonZeroUsize,
    /// Do not write PM2's dump, which `pm2 resurrect` reads
    #[arg(long)]
    pub no_save: bool,
    /// Seconds to wait for another pm2-sync to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lock_timeout: u64,
}

/// `sync`
#[derive(Debug, Args)]
pub struct SyncCommand {
    /// Daemons to sync (default: all)
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Print the plan only
    #[arg(long)]
    pub dry_run: bool,
    /// Confirm a held removal
    #[arg(long, value_name = "PLAN")]
    pub confirm: Option<String>,
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

/// `watch`
#[derive(Debug, Args)]
pub struct WatchCommand {
    /// Apply edits only; leave what people do to PM2 alone
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
    /// The watcher applies edits only; it leaves what people do to PM2 alone
    #[arg(long)]
    pub no_heal: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `down`
#[derive(Debug, Args)]
pub struct DownCommand {}

/// `status`
#[derive(Debug, Args)]
pub struct StatusCommand {
    /// Daemons to show (default: all)
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
    /// Show it again whenever it changes, until stopped
    #[arg(long)]
    pub follow: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckCommand {
    /// Daemons to check (default: all); an argument that ends in .edn is a file
    #[arg(value_name = "ID|FILE.edn")]
    pub targets: Vec<String>,
    /// Count warnings as failures
    #[arg(long)]
    pub strict: bool,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}
