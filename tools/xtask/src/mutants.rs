//! Mutation testing of the model with its own tests.

use std::path::Path;
use std::process::Command;

use crate::command::{Error, root, run, show};

/// Runs cargo-mutants on the model with only the model's own tests, and prints how many mutants they catch.
pub(crate) fn run_with(arguments: &[&str]) -> Result<(), Error> {
    let root = root()?;
    let package = "pm2-sync-model";
    let mut words = vec!["mutants", "--package", package, "--test-package", package];
    words.extend(["--output", "target", "--jobs", "2", "--profile", "mutants"]);
    words.extend(arguments);
    let line = format!("cargo {}", words.join(" "));
    show(&line);
    let mut mutants = Command::new("cargo");
    mutants.args(&words).current_dir(root);
    // 2: some were missed. 3: some made a test hang, which counts as caught.
    run(&line, &mut mutants, &[0, 2, 3])?;
    let count = |name| lines(&root.join("target/mutants.out").join(name));
    let (caught, missed) = (
        count("caught.txt") + count("timeout.txt"),
        count("missed.txt"),
    );
    let percent = 100 * caught / (caught + missed).max(1);
    println!(
        "caught {caught} of {} mutants: {percent} %",
        caught + missed
    );
    Ok(())
}

/// How many lines a file has; zero if it does not exist.
fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
