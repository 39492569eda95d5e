//! A native PM2 client: observe, apply a plan, verify the live processes.
