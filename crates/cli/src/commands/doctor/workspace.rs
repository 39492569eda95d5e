//! Checks the workspace and its settings.

use reconcile::{ConfigError, SETTINGS_FILE, SettingsError};

use super::{Context, Finding};

const WORKSPACE: &str = "workspace";
const SETTINGS: &str = "settings";

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    match &context.workspace {
        Ok(config) => {
            let settings = match config.root().join(SETTINGS_FILE).exists() {
                true => format!("`{SETTINGS_FILE}` is valid"),
                false => format!("defaults; there is no `{SETTINGS_FILE}`"),
            };
            vec![
                Finding::ok(WORKSPACE, config.root().as_str()),
                Finding::ok(SETTINGS, settings),
            ]
        }
        Err(ConfigError::Settings(error)) => vec![settings(error)],
        // PM2's own part reports this.
        Err(ConfigError::NoHome) => Vec::new(),
        Err(error) => {
            let advice = error.hint();
            let advice = advice.unwrap_or_else(|| "name one with `--workspace DIR`".to_owned());
            vec![Finding::fault(WORKSPACE, reconcile::chain(error), advice)]
        }
    }
}

fn settings(error: &SettingsError) -> Finding {
    const REST: &str = "; definitions and generated configs were not checked";
    let SettingsError::Invalid { diagnostics, .. } = error else {
        let found = format!("{}{REST}", reconcile::chain(error));
        return Finding::fault(SETTINGS, found, "make the file readable");
    };
    let all = diagnostics.iter().map(|found| match found.location {
        Some(place) => format!("line {}: {}", place.line, found.message),
        None => found.message.clone(),
    });
    let all: Vec<String> = all.collect();
    let help = diagnostics.iter().find_map(|found| found.help.clone());
    Finding::fault(
        SETTINGS,
        format!("`{SETTINGS_FILE}` is not valid: {}{REST}", all.join("; ")),
        help.unwrap_or_else(|| "correct the file".to_owned()),
    )
}
