//! Exit statuses, in the order in which they win.

/// Bad usage: an unknown flag, command or ID.
pub const USAGE: u8 = 64;
/// Failed: nothing, or nothing useful, was done.
pub const FAILED: u8 = 1;
/// PM2 was not found, or runs and does not answer.
pub const NO_PM2: u8 = 4;
/// Done in part: a definition is broken, a step failed, a removal is held, an app is degraded.
pub const PARTIAL: u8 = 3;
/// Changes are pending (`plan`, `status`, `render --check`).
pub const PENDING: u8 = 2;
/// In sync, or done.
pub const OK: u8 = 0;
