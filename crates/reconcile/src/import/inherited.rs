//! Decides which variables of a process came from the shell that started it. PM2 stores them together with the app's own variables,
//! without a distinction.

use std::collections::BTreeMap;

use daemon_model::{AppSpec, ObservedProcess};

/// The shells that may have passed on variables.
pub(super) struct Shells<'a> {
    /// The caller's variables.
    pub caller: &'a BTreeMap<String, String>,
    /// The variables of PM2's daemon, from the shell that first started it.
    pub daemon: &'a BTreeMap<String, String>,
}

/// Names of variables that describe a session, a terminal or a tool that started the shell. `*` matches any text.
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

/// Variables that every process inherits, but that an app may want to override.
const OWN_WAY: &[&str] = &["LANG", "TMPDIR", "TZ"];

impl Shells<'_> {
    /// Whether one of the shells has this variable with this value.
    pub(super) fn have(&self, name: &str, value: &str) -> bool {
        let has = |vars: &BTreeMap<String, String>| vars.get(name).is_some_and(|it| it == value);
        has(self.caller) || has(self.daemon)
    }

    /// Variables that every process inherits and that this one has with a value that none of the shells has.
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
