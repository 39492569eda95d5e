//! The reference way to render: a ClojureScript reader under nbb, one process per definition.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tools::Tools;
use crate::workspace::{temporary, utf8};

/// The reference renderer, ready to run.
pub struct Reference {
    nbb: Utf8PathBuf,
    script: Utf8PathBuf,
    from: Utf8PathBuf,
    to: Utf8PathBuf,
    _dir: TempDir,
}

impl Reference {
    /// None when nbb is not installed.
    pub fn find(tools: &Tools) -> Option<Self> {
        let dir = temporary();
        let path = utf8(dir.path());
        Some(Self {
            nbb: tools.nbb()?,
            script: tools.reference(),
            from: path.join("from.json"),
            to: path.join("to.json"),
            _dir: dir,
        })
    }

    /// Renders one definition.
    pub fn render(&self, definition: &Utf8Path) {
        let text = std::fs::read_to_string(definition).unwrap();
        std::fs::write(&self.from, json!([text]).to_string()).unwrap();
        let status = Command::new(&self.nbb)
            .args([&self.script, &self.from, &self.to])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// The result of the last definition.
    pub fn rendered(&self) -> Value {
        let answers: Value = serde_json::from_slice(&std::fs::read(&self.to).unwrap()).unwrap();
        serde_json::from_str(answers[0]["json"].as_str().unwrap()).unwrap()
    }
}
