//! Properties of commands.

use super::{Command, RollbackCommand, StopCommand, VariantArgs};

impl Command {
    /// The name of the command.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Render(_) => "render",
            Self::Plan(_) => "plan",
            Self::Sync(_) => "sync",
            Self::Watch(_) => "watch",
            Self::Status(_) => "status",
            Self::Check(_) => "check",
            Self::Doctor(_) => "doctor",
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::Logs(_) => "logs",
            Self::Import(_) => "import",
            Self::Init(_) => "init",
            Self::Stop(_) => "stop",
            Self::Start(_) => "start",
            Self::Restart(_) => "restart",
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Rollback(_) => "rollback",
            Self::History(_) => "history",
            Self::Schema(_) => "schema",
            Self::Completions(_) => "completions",
        }
    }

    /// Whether the command runs until it is stopped.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        matches!(self, Self::Watch(_))
    }

    /// Whether the command concerns files that the user is editing, rather than running processes.
    #[must_use]
    pub fn is_about_files(&self) -> bool {
        matches!(self, Self::Check(_) | Self::Render(_) | Self::Import(_))
    }

    /// Whether the arguments ask to show values of environment variables.
    #[must_use]
    pub fn shows_values(&self) -> bool {
        match self {
            Self::Render(command) => command.show_values,
            Self::Check(command) => command.show_values,
            Self::Plan(command) => command.plan.policy.show_values,
            Self::Sync(command) => command.plan.policy.show_values,
            Self::Watch(command) => command.policy.show_values,
            Self::Status(command) => command.show_values,
            Self::History(command) => command.show_values,
            Self::Doctor(_)
            | Self::Up(_)
            | Self::Down(_)
            | Self::Logs(_)
            | Self::Import(_)
            | Self::Init(_)
            | Self::Stop(_)
            | Self::Start(_)
            | Self::Restart(_)
            | Self::Hold(_)
            | Self::Release(_)
            | Self::Rollback(_)
            | Self::Schema(_)
            | Self::Completions(_) => false,
        }
    }

    /// Its IDs and its variant flags. Suggested commands repeat them, so that they have the same scope.
    #[must_use]
    pub fn repeated(&self) -> (Vec<String>, Vec<String>) {
        let (ids, variant): (&[String], Option<&VariantArgs>) = match self {
            Self::Plan(command) => (&command.plan.ids, Some(&command.plan.variant)),
            Self::Sync(command) => (&command.plan.ids, Some(&command.plan.variant)),
            Self::Status(command) => (&command.ids, Some(&command.variant)),
            Self::Watch(command) => (&[], Some(&command.variant)),
            Self::Up(command) => (&[], Some(&command.variant)),
            Self::Render(command) => (&command.targets, Some(&command.variant)),
            Self::Check(command) => (&command.targets, Some(&command.variant)),
            Self::Logs(command) => (&command.ids, None),
            Self::Stop(StopCommand { act, .. })
            | Self::Start(act)
            | Self::Restart(act)
            | Self::Release(act)
            | Self::Rollback(RollbackCommand { act, .. }) => (&act.ids, Some(&act.variant)),
            Self::Hold(command) => (&command.ids, None),
            Self::History(command) => (&command.ids, None),
            Self::Doctor(_)
            | Self::Down(_)
            | Self::Import(_)
            | Self::Init(_)
            | Self::Schema(_)
            | Self::Completions(_) => (&[], None),
        };
        let flags = variant.map(VariantArgs::to_flags).unwrap_or_default();
        (ids.to_vec(), flags)
    }
}
