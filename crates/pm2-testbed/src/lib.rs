//! Real PM2 in a private home, for tests.
