//! `import` and `init`

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use reconcile::import::{Grouping, ImportOptions};

/// `import`
#[derive(Debug, Args)]
pub struct ImportCommand {
    /// PM2 config files: ecosystem.config.js, .cjs, .mjs, .json, .yml
    #[arg(value_name = "FILE", required_unless_present_any = ["running", "dump"])]
    pub files: Vec<Utf8PathBuf>,
    /// Import the processes that PM2 runs
    #[arg(long, conflicts_with_all = ["files", "dump"])]
    pub running: bool,
    /// Import a process list saved with `pm2 save`
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub dump: Option<Utf8PathBuf>,
    /// Write the definitions to this folder below system/daemons
    #[arg(long, value_name = "DIR")]
    pub into: Option<Utf8PathBuf>,
    /// How to group apps into definitions
    #[arg(long, value_enum, default_value_t = GroupingChoice::App)]
    pub by: GroupingChoice,
    /// Move values that look like secrets to an env file
    #[arg(long, value_name = "FILE")]
    pub extract_secrets: Option<Utf8PathBuf>,
    /// Print the definitions; write nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl ImportCommand {
    /// The options for the library.
    #[must_use]
    pub fn options(&self) -> ImportOptions {
        ImportOptions {
            into: self.into.clone(),
            by: self.by.into(),
            extract_secrets: self.extract_secrets.clone(),
        }
    }
}

/// How apps are grouped into definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupingChoice {
    /// One definition per app
    App,
    /// One per PM2 namespace
    Namespace,
    /// One per file
    File,
}

impl From<GroupingChoice> for Grouping {
    fn from(choice: GroupingChoice) -> Self {
        match choice {
            GroupingChoice::App => Self::App,
            GroupingChoice::Namespace => Self::Namespace,
            GroupingChoice::File => Self::File,
        }
    }
}

/// `init`
#[derive(Debug, Args)]
pub struct InitCommand {
    /// Script to define [default: the one in package.json, else server.js, app.js, index.js, ...]
    #[arg(value_name = "SCRIPT")]
    pub script: Option<Utf8PathBuf>,
}
