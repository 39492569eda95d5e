//! Checks how well this system is supported.

use super::{Context, Finding};

const ABOUT: &str = "platform";

pub(super) fn check(_: &Context<'_>) -> Vec<Finding> {
    check_system(std::env::consts::OS).into_iter().collect()
}

/// Linux, where everything is tested, is not mentioned.
fn check_system(system: &str) -> Option<Finding> {
    match system {
        "linux" => None,
        "macos" => Some(Finding::warning(
            ABOUT,
            "macOS: built for every release, but not tested with PM2",
            "please report problems; command lines and variables of other users' processes cannot be verified",
        )),
        other => Some(Finding::warning(
            ABOUT,
            format!("{other} is not supported: live processes cannot be inspected"),
            "use Linux or macOS",
        )),
    }
}

/// Whether another watch can begin: each needs an inotify instance, as do many other programs of the user.
#[cfg(target_os = "linux")]
pub(super) fn is_instance_left() -> bool {
    rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).is_ok()
}

/// Other systems have no such limit.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_instance_left() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn an_untested_system_is_reported() {
        assert!(check_system("linux").is_none());
        for (system, text) in [("macos", "not tested"), ("freebsd", "cannot be inspected")] {
            let finding = check_system(system).unwrap();
            assert_eq!(finding.grade, Grade::Warning);
            assert!(finding.found.contains(text));
        }
    }
}
