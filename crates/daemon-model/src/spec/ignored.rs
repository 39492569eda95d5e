//! Parts of an app that equality ignores.

use std::sync::OnceLock;

/// A value that equality ignores.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignored<T>(pub(super) T);

impl<T> PartialEq for Ignored<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Computed on first use, because a digest takes about as long as reading the whole app. It is derived from the rest.
pub(super) type Late<T> = Ignored<OnceLock<T>>;
