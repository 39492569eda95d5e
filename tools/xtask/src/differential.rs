//! Random definitions, rendered by edn-render and by the reader that the reference renderer is built on.

use crate::command::{Error, cargo, root, run, show};
use crate::install;

/// How many definitions to draw.
pub(crate) struct Draw<'a> {
    count: &'a str,
    seed: &'a str,
}

impl<'a> Draw<'a> {
    /// Parses `[--count N] [--seed S]`; none for other arguments.
    pub(crate) fn from_arguments(arguments: &[&'a str]) -> Option<Self> {
        let mut draw = Self {
            count: "20000",
            seed: "1",
        };
        for pair in arguments.chunks(2) {
            match pair {
                ["--count", count] if count.parse::<u32>().is_ok() => draw.count = count,
                ["--seed", seed] if seed.parse::<u64>().is_ok() => draw.seed = seed,
                _ => return None,
            }
        }
        Some(draw)
    }

    /// Installs the reader beside the build if it is missing, and compares.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let root = root()?;
        let nbb = install::nbb()?.join("node_modules/.bin/nbb");
        let line = "cargo test --package pm2-sync-edn --test differential -- --ignored";
        show(&format!(
            "export DIFFERENTIAL_COUNT={} DIFFERENTIAL_SEED={}",
            self.count, self.seed
        ));
        show(line);
        let mut test = cargo();
        test.args([
            "test",
            "--package",
            "pm2-sync-edn",
            "--test",
            "differential",
        ])
        .args(["--", "--ignored", "--nocapture"])
        .env("DIFFERENTIAL_NBB", nbb)
        .env("DIFFERENTIAL_COUNT", self.count)
        .env("DIFFERENTIAL_SEED", self.seed)
        .current_dir(root);
        run(line, &mut test, &[0]).map(drop)
    }
}
