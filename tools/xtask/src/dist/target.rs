//! The platforms of the packages.

/// A platform.
pub(super) struct Target {
    /// Its Rust target triple.
    pub(super) triple: &'static str,
    /// Node's `process.platform`.
    pub(super) os: &'static str,
    /// Node's `process.arch`.
    pub(super) cpu: &'static str,
    /// npm's name for the C library, on Linux.
    pub(super) libc: Option<&'static str>,
    /// Debian's name for the architecture, if Debian supports it.
    pub(super) debian: Option<&'static str>,
}

pub(super) const TARGETS: [Target; 6] = [
    linux("x86_64-unknown-linux-gnu", "x64", "glibc", Some("amd64")),
    linux("aarch64-unknown-linux-gnu", "arm64", "glibc", Some("arm64")),
    linux("x86_64-unknown-linux-musl", "x64", "musl", None),
    linux("aarch64-unknown-linux-musl", "arm64", "musl", None),
    darwin("x86_64-apple-darwin", "x64"),
    darwin("aarch64-apple-darwin", "arm64"),
];

const fn linux(
    triple: &'static str,
    cpu: &'static str,
    libc: &'static str,
    debian: Option<&'static str>,
) -> Target {
    Target {
        triple,
        os: "linux",
        cpu,
        libc: Some(libc),
        debian,
    }
}

const fn darwin(triple: &'static str, cpu: &'static str) -> Target {
    Target {
        triple,
        os: "darwin",
        cpu,
        libc: None,
        debian: None,
    }
}

impl Target {
    /// The platform with this target triple.
    pub(super) fn find(triple: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.triple == triple)
    }

    /// The platform that this program was built for.
    pub(super) fn host() -> Option<&'static Self> {
        let system = match std::env::consts::OS {
            "macos" => "apple-darwin",
            "linux" if cfg!(target_env = "musl") => "unknown-linux-musl",
            "linux" => "unknown-linux-gnu",
            _ => return None,
        };
        Self::find(&format!("{}-{system}", std::env::consts::ARCH))
    }

    /// The platform-specific part of its npm package's name.
    pub(super) fn npm(&self) -> String {
        let libc = match self.libc {
            Some("glibc") => "-gnu",
            Some(_) => "-musl",
            None => "",
        };
        format!("{}-{}{libc}", self.os, self.cpu)
    }
}
