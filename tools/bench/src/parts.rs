//! The parts of the benchmark, each with its tables and goals.

mod check;
mod checkout;
mod edit;
mod first;
mod growth;
mod heal;
mod idle;
mod instructions;
mod latency;
mod nothing;
mod ready;
mod render;

use crate::context::Context;
use crate::section::Section;

pub use idle::watch_in_memory;
pub use instructions::child as instructions_child;
pub use nothing::read_list;

/// A part: it measures, and returns its findings.
pub type Run = fn(&Context) -> Section;

/// All parts with their names, in the order in which they run.
pub const PARTS: [(&str, Run); 12] = [
    ("edit", edit::run),
    ("nothing", nothing::run),
    ("first", first::run),
    ("ready", ready::run),
    ("render", render::run),
    ("check", check::run),
    ("idle", idle::run),
    ("latency", latency::run),
    ("heal", heal::run),
    ("checkout", checkout::run),
    ("growth", growth::run),
    ("instructions", instructions::run),
];
