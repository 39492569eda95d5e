//! Arguments of the commands that override definitions, and of `history`.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use reconcile::Wait;

use super::{ApplyArgs, VariantArgs};
use crate::commands::completions;

/// `history`
#[derive(Debug, Args)]
pub struct HistoryCommand {
    /// Daemons to show, by ID, folder, glob, path or app name [default: all]
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    /// Show values of environment variables
    #[arg(long)]
    pub show_values: bool,
}

/// How long to wait.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Do not wait until changed apps are ready
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most SECONDS in total [default: as long as the definitions allow]
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    pub timeout: Option<u64>,
}

impl WaitArgs {
    /// The library's equivalent.
    #[must_use]
    pub fn wait(&self) -> Wait {
        match self.timeout {
            _ if self.no_wait => Wait::No,
            Some(seconds) => Wait::AtMost(Duration::from_secs(seconds)),
            None => Wait::UntilReady,
        }
    }
}

/// How long a decision lasts, and why it was made.
#[derive(Debug, Clone, Args)]
pub struct TermsArgs {
    /// End automatically after this time, such as 30m, 2h or 1d [default: never]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Reason, shown by `status`
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `release`, `start`, `restart`, and the shared arguments of other commands that act on given daemons.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// Daemons, by ID, folder, glob, path or app name
    #[arg(value_name = "ID", required = true, add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub wait: WaitArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub apply: ApplyArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub variant: VariantArgs,
}

/// `hold`
#[derive(Debug, Args)]
pub struct HoldCommand {
    /// Daemons, by ID, folder, glob, path or app name
    #[arg(value_name = "ID", required = true, add = ArgValueCompleter::new(completions::ids))]
    pub ids: Vec<String>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Seconds to wait for another pm2-sync to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub lock_timeout: u64,
}

/// `stop`
#[derive(Debug, Args)]
pub struct StopCommand {
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub terms: TermsArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub act: ActArgs,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct RollbackCommand {
    /// Entry of the history [default: the newest ready entry that is not running]
    #[arg(long, value_name = "N")]
    pub to: Option<u32>,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub terms: TermsArgs,
    // No doc comment: clap would show it as the command's.
    #[command(flatten)]
    pub act: ActArgs,
}

/// A time such as `30m`, `2h` or `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as `30m`, `2h` or `1d`".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| expected())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let duration = duration.ok().and_then(|it| Duration::try_from(it).ok());
    duration.filter(|it| !it.is_zero()).ok_or_else(expected)
}
