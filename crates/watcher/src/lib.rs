//! Finds and watches the definitions of a workspace.
