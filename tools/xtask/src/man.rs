//! Man pages and shell completions for packages, generated from the command line definition.

use std::path::Path;

use crate::command::Error;

/// Writes `man/*.1` and `completions/*` to a directory.
pub(crate) fn write_to(dir: &str) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: dir.into(),
        source,
    };
    let (man, completions) = (
        Path::new(dir).join("man"),
        Path::new(dir).join("completions"),
    );
    for dir in [&man, &completions] {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    clap_mangen::generate_to(pm2_sync::command(), &man).map_err(failed)?;
    for (name, script) in pm2_sync::shell_completions().map_err(failed)? {
        std::fs::write(completions.join(name), script).map_err(failed)?;
    }
    Ok(())
}
