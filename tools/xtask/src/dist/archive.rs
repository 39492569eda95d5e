//! The archive for manual installation.

use std::fs::File;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Build, VERSION, lay_out};
use crate::command::{Error, show};

/// Writes `pm2-sync-<version>-<target>.tar.gz` and its checksum.
pub(super) fn write(build: &Build) -> Result<(), Error> {
    let folder = format!("pm2-sync-{VERSION}-{}", build.target.triple);
    let dir = build.scratch.join(&folder);
    let mut items = build.documents().to_vec();
    items.push(build.program("pm2-sync"));
    items.extend(build.man_pages("man")?);
    items.extend(
        ["pm2-sync.bash", "_pm2-sync", "pm2-sync.fish"]
            .map(|name| build.completions(name, format!("completions/{name}"))),
    );
    lay_out(&dir, &items)?;

    let name = format!("{folder}.tar.gz");
    show(&format!("tar -czf {name} {folder}"));
    let path = build.out.join(&name);
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    let gzip = GzEncoder::new(File::create(&path).map_err(failed)?, Compression::best());
    let mut archive = tar::Builder::new(gzip);
    // Reproducible: no times, no owners.
    archive.mode(tar::HeaderMode::Deterministic);
    archive.append_dir_all(&folder, &dir).map_err(failed)?;
    let gzip = archive.into_inner().map_err(failed)?;
    gzip.finish().map_err(failed)?;
    build.write_checksum(&name)
}
