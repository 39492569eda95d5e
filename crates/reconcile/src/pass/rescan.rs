//! A source of definitions that caches what it has read.

use std::sync::Arc;

use watcher::Scanner;

use super::snapshot::DefinitionSource;
use crate::config::Config;
use crate::definitions::{Definitions, DefinitionsError};

/// Definitions that are read again only if their files have changed, for callers that take many snapshots.
#[derive(Debug)]
pub struct Rescan {
    scanner: Scanner,
    is_scanned: bool,
    known: Option<Arc<Definitions>>,
}

impl Rescan {
    /// A source that has read nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            scanner: Scanner::new(config.layout.clone()),
            is_scanned: false,
            known: None,
        }
    }
}

impl DefinitionSource for Rescan {
    fn load(&mut self, config: &Config) -> Result<Arc<Definitions>, DefinitionsError> {
        let scanned = match std::mem::take(&mut self.is_scanned) {
            true => self.scanner.stat_only(),
            false => self.scanner.full(),
        };
        scanned?;
        self.is_scanned = true;
        let tree = Arc::clone(self.scanner.tree());
        let definitions = Definitions::of_tree(tree, config, self.known.as_deref())?;
        Ok(Arc::clone(self.known.insert(Arc::new(definitions))))
    }
}
