//! Which variables of a process came from the shell that started it. PM2 keeps them beside the app's own, and does not say which
//! are which.

use std::collections::BTreeMap;

use daemon_model::{AppSpec, ObservedProcess};

/// The shells that may have passed on variables.
pub(super) struct Shells<'a> {
    /// The caller's variables.
    pub caller: &'a BTreeMap<String, String>,
    /// Those of PM2's daemon, which has them from the shell that started it first.
    pub daemon: &'a BTreeMap<String, String>,
}

/// Names of variables that say something about a session, a terminal or a tool that started the shell. `*` stands for any text.
const SESSION: &[&str] = &[
    "_",
    "COLORTERM",
    "COLUMNS",
    "CONDA_*",
    "DBUS_*",
    "DESKTOP_SESSION",
    "DISPLAY",
    "EDITOR",
    "FNM_*",
    "GDMSESSION",
    "GNOME_*",
    "GPG_*",
    "GTK_*",
    "HIST*",
    "HOSTNAME",
    "INFOPATH",
    "INIT_CWD",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "KDE_*",
    "KONSOLE_*",
    "LESS*",
    "LINES",
    "LS_COLORS",
    "MAIL",
    "MANPATH",
    "NVM_*",
    "OLDPWD",
    "PAGER",
    "PM2_*",
    "PROMPT*",
    "PS1",
    "PWD",
    "PYENV_*",
    "QT_*",
    "RBENV_*",
    "SDKMAN_*",
    "SESSION_MANAGER",
    "SHLVL",
    "SSH_*",
    "STY",
    "SUDO_*",
    "SYSTEMD_*",
    "TERM",
    "TERM_*",
    "TMUX*",
    "VIRTUAL_ENV*",
    "VISUAL",
    "VOLTA_*",
    "VSCODE_*",
    "WAYLAND_DISPLAY",
    "WINDOWID",
    "WSL*",
    "XAUTHORITY",
    "XDG_*",
    "npm_*",
];

/// Variables that each process inherits, and that an app may still want to have its own way.
const OWN_WAY: &[&str] = &["LANG", "TMPDIR", "TZ"];

impl Shells<'_> {
    /// Whether one of them has this variable with this value.
    pub(super) fn have(&self, name: &str, value: &str) -> bool {
        let has = |vars: &BTreeMap<String, String>| vars.get(name).is_some_and(|it| it == value);
        has(self.caller) || has(self.daemon)
    }

    /// Variables that every process inherits and that this one has with another value than any of them.
    pub(super) fn overridden(&self, process: &ObservedProcess, spec: &AppSpec) -> Vec<String> {
        let is_own_way = |name: &str| OWN_WAY.contains(&name) || name.starts_with("LC_");
        let is_python = spec
            .text("exec_interpreter")
            .is_some_and(|it| it.contains("python"))
            || spec.script().ends_with(".py");
        let of_python = |name: &str| name == "PYTHONUNBUFFERED" && !is_python;
        let own = process.env.iter();
        own.filter(|(name, _)| is_own_way(name) || of_python(name))
            .filter(|(name, value)| !self.have(name, value))
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Whether a variable belongs to a session rather than to an app.
    pub(super) fn is_of_session(name: &str) -> bool {
        SESSION.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *known == name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_names() {
        for name in ["SSH_CLIENT", "TERM", "npm_config_cache", "OLDPWD", "_"] {
            assert!(Shells::is_of_session(name), "{name}");
        }
        for name in ["NODE_ENV", "PORT", "TERMINAL_ID", "DATABASE_URL", "MAILER"] {
            assert!(!Shells::is_of_session(name), "{name}");
        }
    }
}
