//! The benchmark, built like the packages; in smoke mode, built like the tests.

use std::path::PathBuf;

use crate::command::{Error, cargo, profile_dir, root, run, show};
use crate::install;

/// Builds the programs to measure, installs the baselines, and runs the benchmark.
///
/// `arguments` are those of `pm2-bench`, except that `--write` stands for the documentation page.
pub(crate) fn run_with(arguments: &[&str]) -> Result<(), Error> {
    let root = root()?;
    let is_smoke = arguments.contains(&"--smoke");
    // An unoptimised build suffices to test that the benchmark runs, and builds in a fraction of the time.
    let profile = if is_smoke { "dev" } else { "packaged" };
    let build = format!("cargo build --profile {profile} --package pm2-sync --package pm2-bench");
    show(&build);
    let mut command = cargo();
    command.args(build.split(' ').skip(1)).current_dir(root);
    run(&build, &mut command, &[0])?;

    let mut given = Vec::new();
    for argument in arguments {
        given.push(*argument);
        if *argument == "--write" {
            given.push("docs/benchmarks.md");
        }
    }
    let dir = profile_dir(profile);
    let line = [format!("target/{dir}/pm2-bench").as_str()]
        .into_iter()
        .chain(given.iter().copied())
        .collect::<Vec<_>>()
        .join(" ");
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--profile", profile])
        .args(["--package", "pm2-bench", "--"])
        .args(&given)
        .current_dir(root);
    for (variable, dir) in baselines(is_smoke)? {
        command.env(variable, dir);
    }
    show(&line);
    run(&line, &mut command, &[0]).map(drop)
}

/// The paths of the baselines. In smoke mode, those that are already installed suffice.
fn baselines(smoke: bool) -> Result<Vec<(&'static str, PathBuf)>, Error> {
    let (nbb, chokidar, supervisor) = if smoke {
        let [nbb, chokidar, supervisor] = ["nbb", "chokidar", "supervisor"].map(install::earlier);
        (nbb, chokidar, supervisor)
    } else {
        // Nothing else here needs Python, so it may be missing.
        let supervisor = install::supervisor().inspect_err(|error| {
            println!("supervisor is left out: {}", crate::chain(error));
        });
        (
            Some(install::nbb()?),
            Some(install::chokidar()?),
            supervisor.ok(),
        )
    };
    let named = [
        ("PM2_BENCH_NBB", nbb),
        ("PM2_BENCH_CHOKIDAR", chokidar),
        ("PM2_BENCH_SUPERVISOR", supervisor),
    ];
    Ok(named
        .into_iter()
        .filter_map(|(variable, dir)| Some((variable, dir?)))
        .collect())
}
