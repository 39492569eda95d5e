//! Detects file systems that do not report changes made elsewhere.

use std::path::Path;

/// Magic numbers of `statfs`. On these file systems, watching succeeds but reports local changes only.
const REMOTE: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x786f_4256, "vboxsf"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
];

/// The type of the file system that contains `path`, if it is one of those.
#[must_use]
pub fn remote_file_system(path: &Path) -> Option<&'static str> {
    let found = rustix::fs::statfs(path).ok()?;
    // The field is sign-extended on some architectures; all values fit into 32 bits.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
    let magic = found.f_type as u64 & 0xffff_ffff;
    name(magic)
}

fn name(magic: u64) -> Option<&'static str> {
    let known = REMOTE.iter().find(|(known, _)| *known == magic);
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_known_by_their_magic_number() {
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(0xfe53_4d42), Some("SMB2"));
        assert_eq!(name(0xef53), None);
        assert_eq!(remote_file_system(Path::new("/proc")), None);
    }
}
