//! The random tests, with more rounds than in an ordinary test run.

use crate::command::{Error, cargo, root, run, show};

/// How many rounds to run.
pub(crate) struct Chaos<'a> {
    rounds: &'a str,
    kills: &'a str,
    seed: &'a str,
}

impl<'a> Chaos<'a> {
    /// Parses `[--rounds N] [--kills N] [--seed N]`; none for other arguments.
    pub(crate) fn from_arguments(arguments: &[&'a str]) -> Option<Self> {
        let mut chaos = Self {
            rounds: "20",
            kills: "50",
            seed: "1",
        };
        for pair in arguments.chunks(2) {
            match pair {
                ["--rounds", count] if count.parse::<u32>().is_ok() => chaos.rounds = count,
                ["--kills", count] if count.parse::<u32>().is_ok() => chaos.kills = count,
                ["--seed", seed] if seed.parse::<u32>().is_ok() => chaos.seed = seed,
                _ => return None,
            }
        }
        Some(chaos)
    }

    /// Compares the tree and env files with the watcher's model, and then tests a watch that is killed.
    pub(crate) fn run(&self) -> Result<(), Error> {
        files(self.rounds, self.seed, false)?;
        let variables = [("CHAOS_ROUNDS", self.rounds), ("CHAOS_SEED", self.seed)];
        test(("pm2-sync-watcher", "files"), &variables)?;
        test(
            ("pm2-sync", "kills"),
            &[("CHAOS_KILLS", self.kills), ("CHAOS_SEED", self.seed)],
        )?;
        test(
            ("pm2-sync", "rollouts_random"),
            &[("ROLLOUT_WORLDS", self.rounds)],
        )
    }
}

/// Rounds of random file operations. With `must_lose`, fails if no event was lost in any of them.
pub(crate) fn files(rounds: &str, seed: &str, must_lose: bool) -> Result<(), Error> {
    let mut variables = vec![("CHAOS_ROUNDS", rounds), ("CHAOS_SEED", seed)];
    if must_lose {
        variables.push(("CHAOS_MUST_LOSE", "1"));
    }
    test(("pm2-sync-watcher", "chaos"), &variables)
}

fn test((package, name): (&str, &str), variables: &[(&str, &str)]) -> Result<(), Error> {
    let exports: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let line = format!("cargo test --package {package} --test {name} -- --nocapture");
    show(&format!("export {}", exports.join(" ")));
    show(&line);
    let mut command = cargo();
    command
        .args(["test", "--package", package, "--test", name])
        .args(["--", "--nocapture"])
        .envs(variables.iter().copied())
        .current_dir(root()?);
    run(&line, &mut command, &[0]).map(drop)
}
