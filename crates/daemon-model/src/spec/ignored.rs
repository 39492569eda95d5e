//! Parts of an app that equality ignores.

use std::sync::OnceLock;

/// What makes no difference between two apps.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignored<T>(pub(super) T);

impl<T> PartialEq for Ignored<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Computed on first use, because a digest takes about as long as all the rest, from which it follows.
pub(super) type Late<T> = Ignored<OnceLock<T>>;
