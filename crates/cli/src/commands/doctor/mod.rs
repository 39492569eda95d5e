//! `pm2-sync doctor`: checks what pm2-sync depends on, and gives advice.
//!
//! Each part checks one thing, independently of the others. None changes anything, and none ends the command: a check that cannot
//! run is itself a finding.

mod apps;
mod artifacts;
mod boot;
mod daemon;
mod environment;
mod finding;
mod platform;
mod pm2;
mod tree;
mod workspace;

use camino::Utf8Path;
use files::Links;

use crate::args::{DoctorCommand, GlobalArgs, VariantArgs};
use crate::exit::Exit;
use crate::report::json::DoctorOutput;
use crate::report::text::Line;
use crate::report::{Printer, Table, Tone};
use reconcile::{Config, ConfigError, Environment, Pm2Location};

pub use finding::{Finding, Grade};

/// The input of the parts.
struct Context<'a> {
    environment: &'a Environment,
    /// The workspace, or why it cannot be used.
    workspace: Result<Config, ConfigError>,
    /// PM2's home and command, or why they are not known. Available without a workspace, too.
    pm2: Result<Pm2Location, ConfigError>,
}

impl<'a> Context<'a> {
    fn new(global: &GlobalArgs, environment: &'a Environment) -> Self {
        let overrides = global.overrides(&VariantArgs::default());
        let workspace = Config::resolve(&overrides, environment.clone());
        let here = environment.cwd().unwrap_or(Utf8Path::new("/"));
        let from = match &workspace {
            Ok(config) => config.root(),
            Err(_) => overrides.workspace.as_deref().unwrap_or(here),
        };
        Self {
            environment,
            pm2: Pm2Location::resolve(&overrides, from, environment),
            workspace,
        }
    }

    /// The workspace, for parts that check nothing without one.
    fn config(&self) -> Option<&Config> {
        self.workspace.as_ref().ok()
    }
}

/// Runs all checks and prints the findings. A fault makes the command fail.
pub fn run(
    _command: &DoctorCommand,
    global: &GlobalArgs,
    environment: Environment,
    printer: &Printer,
) -> Exit {
    let context = Context::new(global, &environment);
    let parts: [fn(&Context<'_>) -> Vec<Finding>; 7] = [
        platform::check,
        workspace::check,
        tree::check,
        artifacts::check,
        pm2::check,
        apps::check,
        boot::check,
    ];
    let findings: Vec<Finding> = parts.iter().flat_map(|check| check(&context)).collect();
    let output = DoctorOutput::new(&findings);
    let exit = if output.ok { Exit::Ok } else { Exit::Failed };
    if printer.is_json() {
        printer.json(&output, exit);
    } else {
        printer.table(&table(&findings));
    }
    exit
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["GRADE", "ABOUT", "FOUND"]);
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => Line::default().with(Tone::Good, "ok"),
            Grade::Warning => Line::default().with(Tone::Notice, "warning"),
            Grade::Fault => Line::default().with(Tone::Bad, "fault"),
        };
        table.row([grade, finding.about.into(), finding.found.as_str().into()]);
        if let Some(advice) = &finding.advice {
            let advice = format!("-> {advice}");
            table.continue_row(Line::default().with(Tone::Strong, advice));
        }
    }
    table
}

/// Reads a file that is small if it is valid.
fn read_small(path: &Utf8Path) -> std::io::Result<Vec<u8>> {
    files::read(path.as_std_path(), Links::Follow, 1 << 20)
}
