//! The `pm2-sync` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    pm2_sync::main()
}
