//! Prints findings as GitHub Actions annotations.

use camino::Utf8Path;

use crate::report::{Printer, github};
use reconcile::definitions::Definitions;
use reconcile::{Config, Environment};

/// A path as GitHub needs it: relative to the checkout.
pub(super) fn in_repository(
    path: &Utf8Path,
    base: Option<&Utf8Path>,
    environment: &Environment,
) -> String {
    let repository = environment.var("GITHUB_WORKSPACE").map(Utf8Path::new);
    let absolute = base.map_or_else(|| path.to_owned(), |base| base.join(path));
    repository
        .and_then(|repository| absolute.strip_prefix(repository).ok())
        .unwrap_or(path)
        .to_string()
}

/// Prints annotations for the findings of these definitions.
pub(super) fn definitions(definitions: &Definitions, config: &Config, printer: &Printer) {
    let name = |path: &Utf8Path| in_repository(path, Some(config.root()), &config.environment);
    for definition in definitions.daemons.values() {
        let file = name(&definition.name);
        printer.lines(&github::annotations(
            &definition.diagnostics,
            &file,
            printer,
        ));
    }
    for found in &definitions.of_tree {
        let file = name(Utf8Path::new(&found.path));
        printer.lines(&github::about_path(found, &file));
    }
}
