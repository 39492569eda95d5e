//! The `pm2-sync` binary.

fn main() {}
