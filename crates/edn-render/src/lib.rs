//! Reads EDN process definitions and renders them to PM2 JSON configs.
