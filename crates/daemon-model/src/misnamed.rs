//! Detects files that look like definitions but are ignored because of their names.

use crate::DEFINITION_FILE;

/// Why the name of a file that looks like a definition is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Misnamed {
    /// A misspelt `ecosystem.pm2.edn`: another case or extension, or a few wrong letters.
    Misspelt,
    /// Another name before `.pm2.edn`.
    OwnName,
    /// A PM2 config file.
    Pm2Config,
}

impl Misnamed {
    /// Why a file of this name is ignored. None for other files, for `ecosystem.pm2.edn` itself, and for backups that editors
    /// create.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        /// The extensions of config files that PM2 reads.
        const CONFIGS: [&str; 8] = ["js", "cjs", "mjs", "ts", "json", "json5", "yml", "yaml"];
        // Nearly all names return here: every file below the tree is checked.
        if !(7..=80).contains(&name.len()) || name.starts_with(['.', '#']) || name.ends_with('~') {
            return None;
        }
        if name == DEFINITION_FILE {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        if lower == DEFINITION_FILE || matches!(&*lower, "ecosystem.edn" | "pm2.edn") {
            return Some(Self::Misspelt);
        }
        // A copy made by an editor.
        if lower.starts_with(DEFINITION_FILE) {
            return None;
        }
        let is_config = |ending: &str| ending.starts_with("config.") || CONFIGS.contains(&ending);
        if lower.strip_prefix("ecosystem.").is_some_and(is_config)
            || lower.starts_with("pm2.config.")
        {
            return Some(Self::Pm2Config);
        }
        if lower.len().abs_diff(DEFINITION_FILE.len()) <= 2
            && lower.starts_with('e')
            && strsim::damerau_levenshtein(&lower, DEFINITION_FILE) <= 2
        {
            return Some(Self::Misspelt);
        }
        lower.ends_with(".pm2.edn").then_some(Self::OwnName)
    }

    /// How to fix it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Misspelt => "rename it to `ecosystem.pm2.edn`, or remove it",
            Self::OwnName => "move it into a directory of its own, as `ecosystem.pm2.edn`",
            Self::Pm2Config => {
                "rewrite it as `ecosystem.pm2.edn`, or keep it outside of the tree of definitions"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_a_definition_are_found_and_no_others() {
        use Misnamed::{Misspelt, OwnName, Pm2Config};
        for (name, misnamed) in [
            ("ecosystem.edn", Misspelt),
            ("ecosystem.pm2.end", Misspelt),
            ("Ecosystem.pm2.edn", Misspelt),
            ("ECOSYSTEM.PM2.EDN", Misspelt),
            ("ecosytem.pm2.edn", Misspelt),
            ("ecosystem-pm2.edn", Misspelt),
            ("ecosystem.pm2.ed", Misspelt),
            ("ecosystem.pm2edn", Misspelt),
            ("pm2.edn", Misspelt),
            ("api.pm2.edn", OwnName),
            ("ecosystem.api.pm2.edn", OwnName),
            ("Copy of ecosystem.pm2.edn", OwnName),
            ("ecosystem.config.js", Pm2Config),
            ("ecosystem.config.production.cjs", Pm2Config),
            ("Ecosystem.Config.JSON", Pm2Config),
            ("ecosystem.json", Pm2Config),
            ("ecosystem.yml", Pm2Config),
            ("pm2.config.js", Pm2Config),
        ] {
            assert_eq!(Misnamed::of(name), Some(misnamed), "{name}");
        }
        for name in [
            "ecosystem.pm2.edn",
            "ecosystem.pm2.edn~",
            "ecosystem.pm2.edn.bak",
            "ecosystem.pm2.edn___jb_tmp___",
            "#ecosystem.pm2.edn#",
            ".ecosystem.pm2.edn.swp",
            ".ecosystem.edn",
            "ecosystem.md",
            "ecosystem.rs",
            "ecosystem",
            "deps.edn",
            "config.edn",
            "server.js",
            "",
        ] {
            assert_eq!(Misnamed::of(name), None, "{name}");
        }
    }
}
