//! What a file event says about a path.

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It appeared there.
    Here,
    /// A complete file was moved there.
    Moved,
    /// It was moved away from there.
    Gone,
    /// It was deleted there.
    Deleted,
    /// It was written to, and closed.
    Written,
    /// Its metadata changed.
    Meta,
}

impl Change {
    /// Whether the path may refer to another file now.
    pub(crate) fn is_of_name(self) -> bool {
        matches!(self, Self::Here | Self::Moved | Self::Gone | Self::Deleted)
    }

    /// Whether this ends the writing of a file.
    pub(crate) fn ends_writing(self) -> bool {
        matches!(self, Self::Moved | Self::Written)
    }
}
