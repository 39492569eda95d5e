//! What a file event says of a path.

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It appeared there.
    Here,
    /// It was moved there: a file as a whole.
    Moved,
    /// It was moved away from there.
    Gone,
    /// It was deleted.
    Deleted,
    /// It was written to, and closed.
    Written,
    /// Its metadata changed.
    Meta,
}

impl Change {
    /// Whether another thing may lie at the path now.
    pub(crate) fn is_of_name(self) -> bool {
        matches!(self, Self::Here | Self::Moved | Self::Gone | Self::Deleted)
    }

    /// Whether the writing of a file has ended with it.
    pub(crate) fn ends_writing(self) -> bool {
        matches!(self, Self::Moved | Self::Written)
    }
}
