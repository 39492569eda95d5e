//! Checks the directory of definitions, and whether changes in it are detected.

use camino::Utf8Path;
use daemon_model::DEFINITION_FILE;
use reconcile::Config;

use super::{Context, Finding, platform};

const DEFINITIONS: &str = "definitions";
const FILE_SYSTEM: &str = "file system";
const INOTIFY: &str = "inotify";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let Some(config) = context.config() else {
        return Vec::new();
    };
    let dir = config.layout.daemons_dir();
    let tree = match watcher::scan(&config.layout) {
        Ok(tree) => tree,
        Err(error) => {
            return vec![Finding::fault(
                DEFINITIONS,
                reconcile::chain(&error),
                "restore the directory, or name another one as `:daemons` in `pm2-sync.edn`",
            )];
        }
    };
    let mut findings = vec![
        Finding::ok(DEFINITIONS, format!("{} in {dir}", tree.sources.len())),
        check_file_system(dir),
    ];
    findings.extend(check_names(&tree, config));
    findings.extend(check_instances(platform::is_instance_left()));
    if let Some(allowed) = allowed_watches() {
        findings.push(check_watches(count_dirs(config, dir), allowed));
    }
    findings
}

/// Files that are ignored because of their names.
fn check_names(tree: &watcher::Tree, config: &Config) -> Option<Finding> {
    /// How many of them are listed by name.
    const MOST: usize = 3;
    let root = config.root().as_std_path();
    let shown = |path: &std::path::PathBuf| {
        let path = path.strip_prefix(root).unwrap_or(path);
        path.display().to_string()
    };
    let mut names: Vec<String> = tree.misnamed.iter().take(MOST).map(shown).collect();
    if tree.misnamed.len() > MOST {
        names.push("...".to_owned());
    }
    (!names.is_empty()).then(|| {
        Finding::warning(
            DEFINITIONS,
            format!("not read because of their names: {}", names.join(", ")),
            format!("definitions must be named `{DEFINITION_FILE}`; `pm2-sync check` suggests a fix for each"),
        )
    })
}

fn check_file_system(dir: &Utf8Path) -> Finding {
    match watcher::remote_file_system(dir.as_std_path()) {
        None => Finding::ok(FILE_SYSTEM, "file watching works"),
        Some(kind) => Finding::warning(
            FILE_SYSTEM,
            format!("{kind} does not report changes made on other machines"),
            "nothing to do: `watch` polls every 2 seconds instead",
        ),
    }
}

fn check_instances(is_one_left: bool) -> Option<Finding> {
    (!is_one_left).then(|| {
        Finding::warning(
            INOTIFY,
            "all instances of the user are in use, so no files can be watched",
            "raise the limit with `sysctl fs.inotify.max_user_instances=1024`; until then `watch` polls every 2 seconds",
        )
    })
}

fn allowed_watches() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    text.trim().parse().ok()
}

fn check_watches(needed: usize, allowed: usize) -> Finding {
    if needed * 2 <= allowed {
        return Finding::ok(
            INOTIFY,
            format!("{needed} directories to watch, {allowed} watches allowed"),
        );
    }
    Finding::warning(
        INOTIFY,
        format!(
            "{needed} directories to watch, {allowed} watches allowed for all programs of the user"
        ),
        format!(
            "raise the limit with `sysctl fs.inotify.max_user_watches={}`; where it is reached, `watch` polls every 2 seconds",
            (needed * 4).next_power_of_two()
        ),
    )
}

fn count_dirs(config: &Config, root: &Utf8Path) -> usize {
    let mut count = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        count += 1;
        for entry in dir.read_dir_utf8().into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && !config.layout.skips_dir(entry.file_name())
            {
                dirs.push(entry.path().to_owned());
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Grade;

    #[test]
    fn a_lack_of_instances_is_reported_with_its_cure() {
        assert!(check_instances(true).is_none());
        let finding = check_instances(false).unwrap();
        assert_eq!(finding.grade, Grade::Warning);
        let advice = finding.advice.unwrap();
        assert!(advice.contains("max_user_instances"), "{advice}");
    }

    #[test]
    fn the_advice_for_watches_leaves_room() {
        assert_eq!(check_watches(50, 100).grade, Grade::Ok);
        let finding = check_watches(51, 100);
        assert_eq!(finding.grade, Grade::Warning);
        let advice = finding.advice.unwrap();
        assert!(advice.contains("max_user_watches=256"), "{advice}");
    }
}
