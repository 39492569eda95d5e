//! The baselines that pm2-sync is compared with, in addition to PM2's own command line and the floor.

pub mod chokidar;
pub mod nbb;
pub mod supervisord;
