//! The closest peer that is also declarative: `supervisorctl reread && supervisorctl update`.

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use pm2_testbed::wait_for;
use tempfile::TempDir;

use crate::processes::{Running, SLEEP, sleepers};
use crate::tools::Tools;
use crate::workspace::{temporary, utf8};

/// A running supervisord without programs.
pub struct Supervisord {
    child: Running,
    ctl: Utf8PathBuf,
    config: Utf8PathBuf,
    programs: Utf8PathBuf,
    _dir: TempDir,
}

impl Supervisord {
    /// None when it is not installed.
    pub fn start(tools: &Tools) -> Option<Self> {
        let supervisord = tools.supervisor("supervisord")?;
        let ctl = tools.supervisor("supervisorctl")?;
        let dir = temporary();
        let path = utf8(dir.path());
        let programs = path.join("programs");
        std::fs::create_dir(&programs).unwrap();
        let config = path.join("s.conf");
        let text = format!(
            "[unix_http_server]
file={path}/s.sock
[supervisord]
nodaemon=true
logfile={path}/s.log
pidfile={path}/s.pid
childlogdir={path}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{path}/s.sock
[include]
files={programs}/*.conf
"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(supervisord)
            .args(["-c", config.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self {
            child: Running(child),
            ctl,
            config,
            programs,
            _dir: dir,
        };
        wait_for(|| started.command("pid").status().unwrap().success());
        Some(started)
    }

    fn command(&self, command: &str) -> Command {
        let mut process = Command::new(&self.ctl);
        process
            .args(["-c", self.config.as_str(), command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    /// Writes a file for each of `count` programs, and removes all others.
    pub fn define(&self, count: usize) {
        std::fs::remove_dir_all(&self.programs).unwrap();
        std::fs::create_dir(&self.programs).unwrap();
        for n in 0..count {
            let mut text = format!("[program:app{n}]\n");
            // It counts as started at once, as in PM2.
            let _ = write!(text, "command={SLEEP} 1000\nstartsecs=0\n");
            std::fs::write(self.programs.join(format!("app{n}.conf")), text).unwrap();
        }
    }

    /// Applies the definitions, and waits until exactly `count` processes run.
    pub fn update(&self, count: usize) {
        for command in ["reread", "update"] {
            assert!(self.command(command).status().unwrap().success());
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while sleepers(self.child.pid()) != count {
            assert!(Instant::now() < deadline, "supervisord does not start all");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
