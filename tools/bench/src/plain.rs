//! Plain files: the cost of reading and writing by itself.

use camino::{Utf8Path, Utf8PathBuf};

use crate::workspace::Workspace;

/// Reads each file; returns their total length.
pub fn read_all(files: &[Utf8PathBuf]) -> usize {
    let lengths = files.iter().map(|file| std::fs::read(file).unwrap().len());
    lengths.sum()
}

/// Calls `stat` for each file, without opening it.
pub fn stat_all(files: &[Utf8PathBuf]) {
    for file in files {
        std::fs::metadata(file).unwrap();
    }
}

/// Definitions and artifacts of the first `count` daemons.
pub fn definitions_and_artifacts(workspace: &Workspace, count: usize) -> Vec<Utf8PathBuf> {
    let definitions = (0..count).map(|n| workspace.definition(n));
    let artifacts = (0..count).map(|n| workspace.artifact(n));
    definitions.chain(artifacts).collect()
}

/// Existing files, to be replaced by themselves.
pub struct Replacements {
    files: Vec<(Utf8PathBuf, Vec<u8>)>,
}

impl Replacements {
    /// Reads these files.
    pub fn of(files: impl Iterator<Item = Utf8PathBuf>) -> Self {
        let files = files.map(|file| {
            let bytes = std::fs::read(&file).unwrap();
            (file, bytes)
        });
        Self {
            files: files.collect(),
        }
    }

    /// Writes each to a new file and renames it, so that readers see either version.
    pub fn write(&self) {
        for (file, bytes) in &self.files {
            let new = file.with_extension("new");
            std::fs::write(&new, bytes).unwrap();
            std::fs::rename(new, file).unwrap();
        }
    }
}

/// Files to write, below existing directories.
pub struct Copies {
    files: Vec<(Utf8PathBuf, Vec<u8>)>,
}

impl Copies {
    /// The same bytes as the artifacts of the first `count` daemons, at the same depth below `dir`.
    pub fn of(workspace: &Workspace, count: usize, dir: &Utf8Path) -> Self {
        let files = (0..count).map(|n| {
            let artifact = workspace.artifact(n);
            let relative = artifact.strip_prefix(workspace.out()).unwrap();
            (dir.join(relative), std::fs::read(&artifact).unwrap())
        });
        Self {
            files: files.collect(),
        }
    }

    /// Creates their directories.
    pub fn make_directories(&self) {
        for (file, _) in &self.files {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
    }

    /// Writes all of them.
    pub fn write(&self) {
        for (file, bytes) in &self.files {
            std::fs::write(file, bytes).unwrap();
        }
    }

    /// Asserts that they were written.
    pub fn expect_written(&self) {
        for (file, bytes) in &self.files {
            assert_eq!(std::fs::read(file).unwrap(), *bytes);
        }
    }
}
