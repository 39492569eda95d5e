//! Keeps PM2's running set equal to a directory of definitions.
