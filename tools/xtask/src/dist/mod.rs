//! The packages, all from one build: npm, Debian and an archive, into `target/dist/`.

mod archive;
mod deb;
mod npm;
mod target;

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::command::{Error, cargo, profile_dir, root, run, show};
use target::Target;

/// The version of all packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file of a package: its destination, its source, and whether it is executable.
#[derive(Clone)]
struct Item {
    to: String,
    from: PathBuf,
    executable: bool,
}

impl Item {
    fn new(to: impl Into<String>, from: PathBuf) -> Self {
        Self {
            to: to.into(),
            from,
            executable: false,
        }
    }
}

/// The input of a package.
struct Build {
    root: &'static Path,
    target: &'static Target,
    /// The program.
    binary: PathBuf,
    /// `target/dist`.
    out: PathBuf,
    /// Where packages are assembled.
    scratch: PathBuf,
}

/// Builds pm2-sync, fully optimised unless another profile is selected, and every package of this target.
pub(crate) fn run_with(arguments: &[&str]) -> Option<Result<(), Error>> {
    let (target, profile) = match arguments {
        [] => (Target::host()?, "packaged"),
        // Packages for a test use the profile of the tests, which has been built already.
        ["--profile", "dev"] => (Target::host()?, "dev"),
        ["--target", triple] => (Target::find(triple)?, "packaged"),
        _ => return None,
    };
    Some(dist(target, profile))
}

fn dist(target: &'static Target, profile: &str) -> Result<(), Error> {
    let root = root()?;
    let out = root.join("target/dist");
    make_empty(&out)?;
    let build = Build {
        root,
        target,
        binary: build(root, target, profile)?,
        scratch: out.join("scratch"),
        out,
    };
    make_empty(&build.scratch)?;
    crate::man::write_to(&build.pages_dir().to_string_lossy())?;
    archive::write(&build)?;
    deb::write_package(&build)?;
    npm::write_packages(&build)?;
    remove(&build.scratch)?;
    println!();
    for file in files(&build.out)? {
        println!("target/dist/{file}");
    }
    Ok(())
}

/// The program.
fn build(root: &Path, target: &Target, profile: &str) -> Result<PathBuf, Error> {
    let mut line = format!("cargo build --profile {profile} --locked --package pm2-sync");
    let mut dir = root.join("target");
    if Target::host().is_none_or(|host| host.triple != target.triple) {
        line.push_str(" --target ");
        line.push_str(target.triple);
        dir.push(target.triple);
    }
    show(&line);
    let mut command = cargo();
    command.args(line.split(' ').skip(1)).current_dir(root);
    run(&line, &mut command, &[0])?;
    Ok(dir.join(profile_dir(profile)).join("pm2-sync"))
}

impl Build {
    /// The documents in every package.
    fn documents(&self) -> [Item; 4] {
        ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"]
            .map(|name| Item::new(name, self.root.join(name)))
    }

    /// Where man pages and completions are.
    fn pages_dir(&self) -> PathBuf {
        self.scratch.join("pages")
    }

    /// The man pages, in a directory of a package.
    fn man_pages(&self, dir: &str) -> Result<Vec<Item>, Error> {
        let from = self.pages_dir().join("man");
        let pages = files(&from)?;
        Ok(pages
            .into_iter()
            .map(|name| Item::new(format!("{dir}/{name}"), from.join(name)))
            .collect())
    }

    /// The completions of a shell, as a file of a package.
    fn completions(&self, name: &str, to: impl Into<String>) -> Item {
        Item::new(to, self.pages_dir().join("completions").join(name))
    }

    fn program(&self, to: &str) -> Item {
        Item {
            executable: true,
            ..Item::new(to, self.binary.clone())
        }
    }

    /// Writes `<file>.sha256` beside a file, in the format of `sha256sum --check`.
    fn write_checksum(&self, name: &str) -> Result<(), Error> {
        let bytes = read(&self.out.join(name))?;
        let digest = Sha256::digest(&bytes);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        write(
            &self.out.join(format!("{name}.sha256")),
            format!("{hex}  {name}\n").as_bytes(),
        )
    }
}

/// Copies files below a directory.
fn lay_out(dir: &Path, items: &[Item]) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;

    for item in items {
        let to = dir.join(&item.to);
        write(&to, &read(&item.from)?)?;
        let mode = if item.executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(&to, PermissionsExt::from_mode(mode))
            .map_err(|source| Error::File { path: to, source })?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file, and the directories above it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes))
        .map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })
}

fn remove(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            path: dir.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn make_empty(dir: &Path) -> Result<(), Error> {
    remove(dir)?;
    std::fs::create_dir_all(dir).map_err(|source| Error::MakeDirectory {
        path: dir.to_owned(),
        source,
    })
}

/// The names of the files in a directory, sorted.
fn files(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(dir).map_err(|source| Error::File {
        path: dir.to_owned(),
        source,
    })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Runs a packager, printed as a user would type it.
fn packager(line: &str, dir: &Path) -> Result<(), Error> {
    show(line);
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(dir);
    run(line, &mut command, &[0]).map(drop)
}
