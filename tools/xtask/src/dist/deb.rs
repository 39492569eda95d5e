//! The Debian package: program, documents, man pages, completions, and a unit for systemd's user manager.

use super::{Build, Item, VERSION, lay_out, packager, read, write};
use crate::command::Error;

/// Writes `pm2-sync_<version>_<architecture>.deb` and its checksum, for architectures of Debian.
pub(super) fn write_package(build: &Build) -> Result<(), Error> {
    let Some(architecture) = build.target.debian else {
        return Ok(());
    };
    let dir = build.scratch.join("deb");
    let unit = "pm2-sync@.service";
    let mut items = vec![
        build.program("usr/bin/pm2-sync"),
        Item::new(
            format!("usr/lib/systemd/user/{unit}"),
            build.root.join("packaging/systemd").join(unit),
        ),
    ];
    items.extend(build.documents().map(|item| Item {
        to: format!("usr/share/doc/pm2-sync/{}", item.to),
        ..item
    }));
    items.extend(build.man_pages("usr/share/man/man1")?);
    items.extend([
        build.completions(
            "pm2-sync.bash",
            "usr/share/bash-completion/completions/pm2-sync",
        ),
        build.completions("_pm2-sync", "usr/share/zsh/vendor-completions/_pm2-sync"),
        build.completions(
            "pm2-sync.fish",
            "usr/share/fish/vendor_completions.d/pm2-sync.fish",
        ),
    ]);
    lay_out(&dir, &items)?;

    let glibc = newest_glibc(&read(&build.binary)?);
    let size: u64 = items
        .iter()
        .filter_map(|item| Some(std::fs::metadata(&item.from).ok()?.len()))
        .sum();
    let control = format!(
        "Package: pm2-sync
Version: {VERSION}
Architecture: {architecture}
Maintainer: pm2-sync maintainers <maintainers@users.noreply.github.com>
Installed-Size: {}
Depends: libc6 (>= {glibc}), libgcc-s1
Suggests: nodejs, npm
Section: admin
Priority: optional
Homepage: https://github.com/pm2-sync/pm2-sync
Description: keep what PM2 runs in sync with definitions in your repository
 pm2-sync compares a directory of definitions with the processes that PM2 runs,
 and takes the least disruptive steps that make them equal. PM2 itself comes from
 npm: npm install --global pm2
",
        size.div_ceil(1024),
    );
    write(&dir.join("DEBIAN/control"), control.as_bytes())?;
    let name = format!("pm2-sync_{VERSION}_{architecture}.deb");
    packager(
        &format!("dpkg-deb --root-owner-group -Zxz --build deb ../{name}"),
        &build.scratch,
    )?;
    build.write_checksum(&name)
}

/// The newest version of glibc whose symbols a program uses, such as `2.34`.
///
/// Symbol versions appear as text in the program.
fn newest_glibc(program: &[u8]) -> String {
    const PREFIX: &[u8] = b"GLIBC_2.";
    let minor = program
        .windows(PREFIX.len() + 3)
        .filter_map(|window| window.strip_prefix(PREFIX))
        .filter_map(|rest| {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            std::str::from_utf8(&rest[..digits])
                .ok()?
                .parse::<u32>()
                .ok()
        })
        .max()
        .unwrap_or_default();
    format!("2.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides() {
        let program = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0 GLIBC_2.7 \0";
        assert_eq!(newest_glibc(program), "2.34");
    }
}
