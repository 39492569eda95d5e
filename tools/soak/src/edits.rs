//! Edits of the tree of definitions, as made by users, editors and tools.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use pm2_testbed::Random;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::workspace::{Kind, Workspace};

/// The smallest and the largest number of definitions.
const COUNT: (usize, usize) = (12, 20);

/// Creates the initial definitions of a run.
pub fn populate(workspace: &mut Workspace) -> io::Result<()> {
    let kinds = [Kind::Shell, Kind::Node, Kind::Cluster];
    for n in 0..14 {
        let kind = kinds.get(n).copied().unwrap_or(Kind::Binary);
        let id = match n % 3 {
            0 => format!("d{n}"),
            1 => format!("group{}/d{n}", n % 4),
            _ => format!("deep/er/d{n}"),
        };
        add(workspace, &id, kind)?;
    }
    Ok(())
}

fn add(workspace: &mut Workspace, id: &str, kind: Kind) -> io::Result<()> {
    let app = workspace.app(kind);
    let daemon = workspace.daemons.entry(id.to_owned()).or_default();
    daemon.apps.push(app);
    workspace.touched.insert(id.to_owned());
    workspace.identity.insert(id.to_owned());
    workspace.write(id)
}

/// The edits between two checks. They remove no more definitions than the guard allows.
pub struct Edits<'a> {
    pub workspace: &'a mut Workspace,
    pub random: &'a mut Random,
    pub removals: u32,
}

/// The edit, for the log; none if the drawn edit is not possible now.
type Done = io::Result<Option<(&'static str, String)>>;

impl Edits<'_> {
    /// Makes one edit.
    pub fn one(&mut self) -> Done {
        match self.random.below(24) {
            0..=8 => self.edit(),
            9 => self.comment(),
            10 | 11 => self.break_it(),
            12 => self.break_and_mend(),
            13 | 14 => self.mend(),
            15 => self.remove(),
            16 | 17 => self.remove_and_bring_back(),
            18 | 19 => self.new_one(),
            20 => self.rename(),
            21 => self.rename_group(),
            22 => self.exchange(),
            _ => self.checkout(),
        }
    }

    fn pick(&mut self, ids: &[String]) -> Option<String> {
        self.random.pick(ids).cloned()
    }

    fn pause(&mut self, millis: u64) {
        sleep(Duration::from_millis(self.random.below(millis)));
    }

    /// Changes one definition to another state.
    fn change(&mut self, id: &str) -> String {
        let number = self.workspace.fresh();
        let renamable = !self.workspace.identity.contains(id) && self.removals > 0;
        let kind = self.random.below(10);
        let mut new = None;
        if kind == 8 {
            new = Some(self.workspace.app(Kind::Binary));
        }
        let Some(daemon) = self.workspace.daemons.get_mut(id) else {
            return String::new();
        };
        let count = daemon.apps.len();
        if kind == 8 && count < 3 {
            daemon.apps.extend(new);
            self.workspace.touched.insert(id.to_owned());
            return "one app more".to_owned();
        }
        if kind == 9 && count > 1 {
            daemon.apps.pop();
            self.workspace.touched.insert(id.to_owned());
            return "one app less".to_owned();
        }
        let app = &mut daemon.apps[0];
        let what = match kind {
            4 => {
                app.env.insert("VERSION".to_owned(), number.to_string());
                format!("VERSION {number}")
            }
            5 => {
                let key = format!("EXTRA_{}", number % 3);
                app.env.insert(key.clone(), number.to_string());
                format!("{key} {number}")
            }
            6 => {
                app.env.retain(|key, _| key == "VERSION");
                "no EXTRA".to_owned()
            }
            7 if matches!(app.kind, Kind::Binary | Kind::Cluster) => {
                app.instances = 1 + number % 3;
                format!("{} instances", app.instances)
            }
            9 if renamable => {
                app.name = format!("app{number}");
                self.workspace.identity.insert(id.to_owned());
                self.removals -= 1;
                format!("name app{number}")
            }
            _ => {
                app.value = number;
                format!("argument {number}")
            }
        };
        self.workspace.touched.insert(id.to_owned());
        what
    }

    /// Writes the file in the way of a random program.
    fn save(&mut self, id: &str) -> io::Result<&'static str> {
        let file = self.workspace.file(id);
        let text = self.workspace.daemons[id].edn();
        Ok(match self.random.below(5) {
            0 => {
                fs::write(&file, text)?;
                "in place"
            }
            1 => {
                let beside = self.workspace.dir(id).join(".tmp");
                fs::write(&beside, text)?;
                fs::rename(beside, &file)?;
                "renamed over"
            }
            2 => {
                let beside = self.workspace.outside.join("tmp");
                fs::write(&beside, text)?;
                fs::rename(beside, &file)?;
                "renamed over from outside"
            }
            3 => {
                let backup = self.workspace.dir(id).join("ecosystem.pm2.edn~");
                fs::rename(&file, &backup)?;
                fs::write(&file, text)?;
                fs::remove_file(backup)?;
                "as vim does"
            }
            _ => {
                fs::remove_file(&file)?;
                fs::write(&file, text)?;
                "removed and made"
            }
        })
    }

    fn edit(&mut self) -> Done {
        let usable = self.workspace.usable();
        let Some(id) = self.pick(&usable) else {
            return Ok(None);
        };
        let what = self.change(&id);
        let how = self.save(&id)?;
        Ok(Some(("edit", format!("{id}: {what}, {how}"))))
    }

    fn comment(&mut self) -> Done {
        let usable = self.workspace.usable();
        let Some(id) = self.pick(&usable) else {
            return Ok(None);
        };
        if let Some(daemon) = self.workspace.daemons.get_mut(&id) {
            daemon.comment += 1;
        }
        self.workspace.touched.insert(id.clone());
        let how = self.save(&id)?;
        Ok(Some(("edit of a comment", format!("{id}: {how}"))))
    }

    /// Makes a definition invalid that has not been edited since the last check, so that its last good state is known.
    fn break_it(&mut self) -> Done {
        let mut ids = self.workspace.usable();
        ids.retain(|id| !self.workspace.touched.contains(id));
        if self.workspace.broken().len() >= 3 {
            return Ok(None);
        }
        let Some(id) = self.pick(&ids) else {
            return Ok(None);
        };
        let text = self.workspace.daemons[&id].edn();
        let broken: Vec<u8> = match self.random.below(4) {
            0 => Vec::new(),
            1 => text.into_bytes().into_iter().take(40).collect(),
            2 => [text.as_bytes(), b"\xff\xfe"].concat(),
            _ => text.replace(":args [", ":args [08 ").into_bytes(),
        };
        fs::write(self.workspace.file(&id), broken)?;
        if let Some(daemon) = self.workspace.daemons.get_mut(&id) {
            daemon.broken = true;
        }
        self.workspace.touched.insert(id.clone());
        Ok(Some(("broken", id)))
    }

    fn break_and_mend(&mut self) -> Done {
        let usable = self.workspace.usable();
        let Some(id) = self.pick(&usable) else {
            return Ok(None);
        };
        fs::write(self.workspace.file(&id), "{:apps [{:name \"half")?;
        self.pause(600);
        let what = self.change(&id);
        let how = self.save(&id)?;
        Ok(Some(("broken and mended", format!("{id}: {what}, {how}"))))
    }

    fn mend(&mut self) -> Done {
        let broken = self.workspace.broken();
        let Some(id) = self.pick(&broken) else {
            return Ok(None);
        };
        if let Some(daemon) = self.workspace.daemons.get_mut(&id) {
            daemon.broken = false;
        }
        let what = self.change(&id);
        let how = self.save(&id)?;
        Ok(Some(("mended", format!("{id}: {what}, {how}"))))
    }

    fn remove(&mut self) -> Done {
        let mut ids = self.workspace.movable();
        // Keep the apps that cover special kinds.
        ids.retain(|id| self.workspace.daemons[id].apps[0].kind == Kind::Binary);
        if self.removals == 0 || self.workspace.daemons.len() <= COUNT.0 {
            return Ok(None);
        }
        let Some(id) = self.pick(&ids) else {
            return Ok(None);
        };
        self.removals -= 1;
        fs::remove_dir_all(self.workspace.dir(&id))?;
        self.workspace.daemons.remove(&id);
        Ok(Some(("removed", id)))
    }

    fn remove_and_bring_back(&mut self) -> Done {
        let long = self.random.one_in(4);
        if long && self.removals == 0 {
            return Ok(None);
        }
        let ids = self.workspace.movable();
        let Some(id) = self.pick(&ids) else {
            return Ok(None);
        };
        fs::remove_dir_all(self.workspace.dir(&id))?;
        if long {
            self.removals -= 1;
            self.workspace.identity.insert(id.clone());
            self.pause(3000);
        } else {
            self.pause(700);
        }
        let what = if self.random.one_in(2) {
            self.change(&id)
        } else {
            "unchanged".to_owned()
        };
        self.workspace.touched.insert(id.clone());
        self.workspace.write(&id)?;
        Ok(Some((
            "removed and brought back",
            format!("{id}: {what}, {}", if long { "slowly" } else { "at once" }),
        )))
    }

    fn new_one(&mut self) -> Done {
        if self.workspace.daemons.len() >= COUNT.1 {
            return Ok(None);
        }
        let number = self.workspace.fresh();
        let id = match self.random.below(3) {
            0 => format!("d{number}"),
            1 => format!("group{}/d{number}", number % 4),
            _ => format!("deep/{}/er/d{number}", number % 2),
        };
        add(self.workspace, &id, Kind::Binary)?;
        Ok(Some(("new", id)))
    }

    fn moved(&mut self, from: &str, to: &str) {
        if let Some(daemon) = self.workspace.daemons.remove(from) {
            self.workspace.daemons.insert(to.to_owned(), daemon);
        }
        for id in [from, to] {
            self.workspace.touched.insert(id.to_owned());
            self.workspace.identity.insert(id.to_owned());
        }
    }

    fn rename(&mut self) -> Done {
        let ids = self.workspace.movable();
        let Some(id) = self.pick(&ids) else {
            return Ok(None);
        };
        let number = self.workspace.fresh();
        let new = format!("group{}/r{number}", number % 4);
        fs::create_dir_all(self.workspace.tree().join(format!("group{}", number % 4)))?;
        fs::rename(self.workspace.dir(&id), self.workspace.dir(&new))?;
        self.moved(&id, &new);
        Ok(Some(("folder renamed", format!("{id} to {new}"))))
    }

    fn rename_group(&mut self) -> Done {
        let groups = self.workspace.groups();
        let Some(group) = self.pick(&groups) else {
            return Ok(None);
        };
        let members: Vec<String> = self
            .workspace
            .daemons
            .keys()
            .filter(|id| id.starts_with(&format!("{group}/")))
            .cloned()
            .collect();
        let movable = self.workspace.movable();
        if !members.iter().all(|id| movable.contains(id)) {
            return Ok(None);
        }
        let new = format!("group{}", self.workspace.fresh());
        fs::rename(self.workspace.dir(&group), self.workspace.dir(&new))?;
        for id in members {
            let to = id.replacen(&group, &new, 1);
            self.moved(&id, &to);
        }
        Ok(Some((
            "folder of several renamed",
            format!("{group} to {new}"),
        )))
    }

    fn exchange(&mut self) -> Done {
        let ids = self.workspace.movable();
        let (Some(a), Some(b)) = (self.pick(&ids), self.pick(&ids)) else {
            return Ok(None);
        };
        if a == b {
            return Ok(None);
        }
        let [one, other] = [&a, &b].map(|id| self.workspace.dir(id));
        let [one, other] = [one.as_std_path(), other.as_std_path()];
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
        for id in [&a, &b] {
            self.workspace.touched.insert(id.clone());
            self.workspace.identity.insert(id.clone());
        }
        if let (Some(one), Some(other)) = (
            self.workspace.daemons.remove(&a),
            self.workspace.daemons.remove(&b),
        ) {
            self.workspace.daemons.insert(a.clone(), other);
            self.workspace.daemons.insert(b.clone(), one);
        }
        Ok(Some(("two folders exchanged", format!("{a} and {b}"))))
    }

    /// Another branch: many files removed and created at once; sometimes the old ones are restored at once.
    fn checkout(&mut self) -> Done {
        let ids = self.workspace.usable();
        let before = self.workspace.daemons.clone();
        let back = self.random.one_in(3);
        let mut count = 0;
        for id in &ids {
            if self.random.one_in(3) {
                continue;
            }
            count += 1;
            if back {
                // Only temporarily.
                if let Some(daemon) = self.workspace.daemons.get_mut(id) {
                    daemon.apps[0].value += 1;
                }
            } else if self.random.one_in(2) {
                self.change(id);
            }
            self.workspace.touched.insert(id.clone());
            fs::remove_file(self.workspace.file(id))?;
            self.workspace.write(id)?;
        }
        if back {
            self.workspace.daemons = before;
            for id in &ids {
                fs::remove_file(self.workspace.file(id))?;
                self.workspace.write(id)?;
            }
        }
        Ok(Some((
            "checkout",
            format!("{count} files{}", if back { ", and back" } else { "" }),
        )))
    }
}
