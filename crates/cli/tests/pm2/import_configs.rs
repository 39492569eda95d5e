//! Turns running PM2 configs into managed apps, with two commands.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use pm2_testbed::is_alive;
use serde_json::{Value, json};

use crate::common::Env;

/// A config as a user may have it, beside an `idle.js`.
struct Case {
    /// The directory of the project, after which apps are named.
    dir: &'static str,
    /// The files, of which the first is the config.
    files: &'static [(&'static str, &'static str)],
    /// What PM2 is started with, if its node cannot read the config itself.
    start: Option<&'static str>,
    /// The directory in which commands are run.
    from: &'static str,
}

const fn case(dir: &'static str, files: &'static [(&'static str, &'static str)]) -> Case {
    Case {
        dir,
        files,
        start: None,
        from: ".",
    }
}

/// JavaScript.
const MODULES: &[Case] = &[
    case("m1", &[("ecosystem.config.js", "module.exports = { apps: [{ name: 'm1', script: './idle.js' }] };")]),
    case("m2", &[("ecosystem.config.js", "module.exports = [{ name: 'm2-a', script: 'idle.js' }, { name: 'm2-b', script: './idle.js', args: ['x', 'y z'] }];")]),
    case("m3", &[("ecosystem.config.js", "module.exports = { name: 'm3', script: './idle.js', env: { A: 1 } };")]),
    case("m4", &[("ecosystem.config.js", "module.exports = { apps: { name: 'm4', script: './idle.js' }, deploy: { production: { user: 'u', host: ['h'], env: { D: 'x' } } } };")]),
    case("m5", &[("ecosystem.config.js", "
        const app = (name, port) => ({ name: `m5-${name}`, script: './idle.js', env: { PORT: port } });
        module.exports = { apps: ['a', 'b', 'c'].map((name, n) => app(name, 8000 + n)) };
    ")]),
    case("m6", &[
        ("ecosystem.config.js", "const { base } = require('./lib/base'); const { name } = require('./package.json');\nmodule.exports = { apps: [{ ...base, name }] };"),
        ("lib/base.js", "exports.base = { script: './idle.js', max_restarts: 4, kill_timeout: 2000 };"),
        ("package.json", "{ \"name\": \"m6\", \"version\": \"1.0.0\" }"),
    ]),
    case("m7", &[("ecosystem.config.js", "module.exports = { apps: [{ name: 'm7', script: './idle.js', env: { STAGE: process.env.STAGE || 'none', LEVEL: process.env.LEVEL || 'info' } }] };")]),
    case("m8", &[("ecosystem.config.js", "
        const path = require('path');
        module.exports = { apps: [{ name: 'm8', script: path.join(__dirname, 'idle.js'), cwd: __dirname, out_file: path.join(__dirname, 'logs', 'out.log') }] };
    ")]),
    case("m9", &[("ecosystem.config.cjs", "exports.apps = [{ name: 'm9', script: './idle.js', instances: 2, exec_mode: 'cluster' }];")]),
    Case {
        start: Some("start.config.cjs"),
        ..case("m10", &[
            ("ecosystem.config.mjs", "export default { apps: [{ name: 'm10', script: './idle.js', time: true }] };"),
            ("start.config.cjs", "module.exports = { apps: [{ name: 'm10', script: './idle.js', time: true }] };"),
        ])
    },
    Case {
        start: Some("start.config.cjs"),
        ..case("m11", &[
            ("ecosystem.config.mjs", "import { hostname } from 'os';\nexport const apps = [{ name: 'm11', script: './idle.js', env: { HAS_HOST: hostname().length > 0 } }];"),
            ("start.config.cjs", "module.exports = { apps: [{ name: 'm11', script: './idle.js', env: { HAS_HOST: true } }] };"),
        ])
    },
    Case {
        start: Some("start.config.cjs"),
        ..case("m12", &[
            ("ecosystem.config.js", "export default [{ name: 'm12', script: './idle.cjs' }];"),
            ("start.config.cjs", "module.exports = [{ name: 'm12', script: './idle.cjs' }];"),
            ("package.json", "{ \"type\": \"module\" }"),
            ("idle.cjs", "setInterval(() => {}, 100000);"),
        ])
    },
    case("m13", &[("ecosystem.config.js", "
        console.log('a config that talks');
        setInterval(() => {}, 1000);
        const version = require('child_process').execSync('echo 1.2.3', { stdio: ['ignore', 'pipe', 'inherit'] }).toString().trim();
        module.exports = { apps: [{ name: 'm13', script: './idle.js', env: { VERSION: version } }] };
    ")]),
    case("m14", &[("ecosystem.config.js", "module.exports = { apps: [{ name: 'm14', script: './idle.js', args: undefined, node_args: null, env: { NOTHING: undefined, WHEN: new Date(0) }, after() {} }] };")]),
    case("m15", &[("config/pm2/ecosystem.config.js", "module.exports = { apps: [{ name: 'm15', script: './idle.js' }] };")]),
    Case {
        from: "services/a",
        ..case("m16", &[
            ("services/a/ecosystem.config.js", "module.exports = { apps: [{ name: 'm16-a', script: './run.js', out_file: './out.log' }, { name: 'm16-b', cwd: '..', script: './a/run.js' }] };"),
            ("services/a/run.js", "setInterval(() => {}, 100000);"),
        ])
    },
];

/// Data.
const DATA: &[Case] = &[
    case(
        "d1",
        &[(
            "ecosystem.json",
            "{ \"apps\": [{ \"name\": \"d1\", \"script\": \"./idle.js\", \"env\": { \"PORT\": 8080, \"DEBUG\": false } }] }",
        )],
    ),
    case(
        "d2",
        &[(
            "process.json",
            "{\n  // the web server\n  \"apps\": [{\n    \"name\": \"d2\", /* one */\n    \"script\": \"./idle.js\",\n  },],\n}",
        )],
    ),
    case(
        "d3",
        &[(
            "process.json",
            "{ apps: [{ name: 'd3', script: './idle.js', 'max_memory_restart': '1G' }] }",
        )],
    ),
    case(
        "d4",
        &[(
            "apps.json",
            "[{ \"name\": \"d4-a\", \"script\": \"./idle.js\" }, { \"name\": \"d4-b\", \"script\": \"/bin/sleep\", \"args\": \"1000\" }]",
        )],
    ),
    case(
        "d5",
        &[(
            "ecosystem.yml",
            "apps:\n  - name: d5\n    script: ./idle.js\n    args: --port 80 'a b'\n    env:\n      NODE_ENV: production\n",
        )],
    ),
    case(
        "d6",
        &[(
            "ecosystem.config.yaml",
            "base: &base\n  script: ./idle.js\n  restart_delay: 300\napps:\n  - <<: *base\n    name: d6-a\n  - <<: *base\n    name: d6-b\n    autorestart: false\n",
        )],
    ),
    case(
        "d7",
        &[(
            "package.json",
            "{ \"name\": \"project\", \"dependencies\": {}, \"pm2\": [{ \"name\": \"d7\", \"script\": \"./idle.js\" }] }",
        )],
    ),
    case(
        "d8",
        &[(
            "one.json",
            "{ \"name\": \"d8\", \"cmd\": \"./idle.js\", \"maxMemoryRestart\": \"200M\", \"killTimeout\": 2500 }",
        )],
    ),
];

/// Attributes of all kinds.
const ATTRIBUTES: &[Case] = &[
    case(
        "a1",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a1', exec: './idle.js', interpreter: 'node', interpreter_args: '--no-warnings', out: './a.log', err: './b.log', merge_logs: true, log_date_format: 'HH:mm' }] };",
        )],
    ),
    case(
        "a2",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a2', script: './idle.js', env: { N: 1, T: true, O: { a: 1 }, L: [1, 2], E: '' }, env_production: { NODE_ENV: 'production' }, env_staging: { NODE_ENV: 'staging' } }] };",
        )],
    ),
    case(
        "a3",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a3', script: './idle.js', instances: 2, increment_var: 'N', env: { N: 5 } }] };",
        )],
    ),
    case(
        "a4",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a4', script: '/bin/sleep', args: '1000', instances: 2, exec_mode: 'fork' }] };",
        )],
    ),
    case(
        "a5",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a5', script: 'sleep 1000' }] };",
        )],
    ),
    case(
        "a6",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a6', script: './idle.js', owner: 'team', 'x-note': { a: [1] }, exec_mode: 'fork_mode' }], version: 2 };",
        )],
    ),
    case(
        "a7",
        &[
            (
                "ecosystem.config.js",
                "module.exports = { apps: [{ script: './a7-unnamed.js' }] };",
            ),
            ("a7-unnamed.js", "setInterval(() => {}, 100000);"),
        ],
    ),
    case(
        "a8",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a8-web', namespace: 'a8-front', script: './idle.js' }, { name: 'a8/db', namespace: 'a8-back', script: './idle.js' }] };",
        )],
    ),
    case(
        "a9",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a9', script: './idle.js', cron_restart: '0 3 * * *', autorestart: false, watch: false, min_uptime: '2s', stop_exit_codes: [0, 3], listen_timeout: 1000, treekill: false, vizion: false, source_map_support: true }] };",
        )],
    ),
    case(
        "a10",
        &[
            (
                "ecosystem.config.js",
                "module.exports = { apps: [{ name: 'a10-sh', script: './run.sh' }, { name: 'a10-none', script: './run', interpreter: 'none' }, { name: 'a10-py', script: './run.py', interpreter: 'python3' }] };",
            ),
            ("run.sh", "exec sleep 1000\n"),
            ("run", "#!/bin/sh\nexec sleep 1000\n"),
            ("run.py", "import time\ntime.sleep(1000)\n"),
        ],
    ),
    case(
        "a11",
        &[(
            "ecosystem.config.js",
            "module.exports = { apps: [{ name: 'a11', script: './idle.js', watch: ['src'], ignore_watch: ['node_modules'], watch_delay: 500, watch_options: { followSymlinks: false } }] };",
        )],
    ),
    case(
        "a12",
        &[
            (
                "ecosystem.config.js",
                "module.exports = { apps: [{ name: 'a12', script: './ready.js', wait_ready: true, shutdown_with_message: true }] };",
            ),
            (
                "ready.js",
                "process.on('message', (m) => m === 'shutdown' && process.exit(0)); process.send('ready'); setInterval(() => {}, 100000);",
            ),
        ],
    ),
];

#[test]
fn modules_are_managed_after_two_commands() {
    all(MODULES);
}

#[test]
fn data_is_managed_after_two_commands() {
    all(DATA);
}

#[test]
fn every_kind_of_attribute_is_managed_after_two_commands() {
    all(ATTRIBUTES);
}

fn all(cases: &[Case]) {
    let env = Env::new();
    for case in cases {
        let project = Project::new(&env, case);
        project.start();
        let before = project.settled();
        project.run(0, &["import", case.files[0].0]);
        assert_eq!(project.rendered(), project.original(), "{}", case.dir);
        project.run(0, &["sync"]);
        let plan = project.run(0, &["plan"]);
        assert_eq!(plan, "", "{}", case.dir);
        project.expect_the_same(&before);
        // Nothing is overwritten or changed.
        project.run(0, &["import", case.files[0].0]);
        project.expect_the_same(&before);
    }
}

/// One project on the PM2 of a test.
struct Project<'e> {
    env: &'e Env,
    case: &'e Case,
    root: Utf8PathBuf,
    others: Vec<u32>,
}

/// The processes of one name: their numbers in PM2, and how many processes on the machine have that name.
type Processes = BTreeMap<String, (Vec<u32>, usize)>;

impl<'e> Project<'e> {
    fn new(env: &'e Env, case: &'e Case) -> Self {
        let root = env.bed.dir().join(case.dir);
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, mode).unwrap();
        };
        write("idle.js", "setInterval(() => {}, 100000);");
        write("src/watched.txt", "");
        for (file, text) in case.files {
            write(file, text);
        }
        // The workspace that a command in a sub-directory belongs to.
        std::fs::create_dir_all(root.join("system/daemons")).unwrap();
        let others = env.try_list().unwrap_or_default();
        Self {
            env,
            case,
            root,
            others: others.iter().map(|record| record.pm_id.0).collect(),
        }
    }

    fn dir(&self) -> Utf8PathBuf {
        self.root.join(self.case.from)
    }

    /// The config, as named from the directory of the commands.
    fn config(&self) -> &str {
        let config = self.case.start.unwrap_or(self.case.files[0].0);
        config
            .strip_prefix(self.case.from)
            .map_or(config, |it| it.trim_start_matches('/'))
    }

    fn start(&self) {
        let mut start = self.env.bed.command(&["start", self.config()]);
        let done = start.current_dir(self.dir()).env("STAGE", "test").output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}: {done:?}", self.case.dir);
        pm2_testbed::wait_for(|| {
            let list = self.env.list();
            list.iter()
                .all(|record| record.status == pm2_client::Status::Online)
        });
    }

    fn run(&self, code: i32, args: &[&str]) -> String {
        let args: Vec<&str> = args
            .iter()
            .map(|arg| {
                arg.strip_prefix(self.case.from)
                    .map_or(*arg, |it| it.trim_start_matches('/'))
            })
            .collect();
        let mut command = self.env.command(&args);
        let done = command
            .current_dir(self.dir())
            .env("STAGE", "test")
            .output();
        let done = done.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        let dir = self.case.dir;
        assert_eq!(
            done.status.code(),
            Some(code),
            "{dir} {args:?}\n{out}\n{err}"
        );
        out
    }

    /// The processes, once there is one for each that PM2 lists: while it starts, an interpreter may be a script that starts others,
    /// and of those a child may outlive its parent.
    fn settled(&self) -> Processes {
        let mut found = Processes::new();
        pm2_testbed::wait_for(|| {
            found = self.processes();
            !found.is_empty() && found.values().all(|(ids, count)| ids.len() == *count)
        });
        found
    }

    fn processes(&self) -> Processes {
        let mut found = Processes::new();
        for record in self.env.list() {
            if !self.others.contains(&record.pm_id.0) {
                assert!(record.pid.is_some_and(is_alive), "{record:?}");
                let is_worker = record.pm2_env["exec_mode"] == "cluster_mode";
                let entry = found.entry(record.name).or_default();
                entry.0.push(record.pm_id.0);
                // The environment of a worker does not name its app.
                entry.1 += usize::from(is_worker);
            }
        }
        // Children of a process also have its variables.
        let named: BTreeMap<u32, String> = (self.env.bed.processes().into_iter())
            .filter_map(|pid| Some((pid, crate::common::environ(pid).remove("name")?)))
            .collect();
        for (pid, name) in &named {
            let is_child = parent(*pid).is_some_and(|it| named.get(&it) == Some(name));
            if let Some((_, count)) = found.get_mut(name).filter(|_| !is_child) {
                *count += 1;
            }
        }
        found
    }

    /// No process was started twice, lost, or replaced.
    #[track_caller]
    fn expect_the_same(&self, before: &Processes) {
        let mut now = Processes::new();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while now != *before && std::time::Instant::now() < deadline {
            now = self.processes();
        }
        assert_eq!(now, *before, "{}", self.case.dir);
    }

    /// The apps of the definitions, sorted.
    fn rendered(&self) -> Vec<Value> {
        let mut apps = Vec::new();
        for file in definitions(&self.root) {
            let text = self.run_in_root(&["render", "--stdout", file.as_str()]);
            let config: Value = serde_json::from_str(&text).unwrap();
            apps.extend(config["apps"].as_array().unwrap().iter().cloned());
        }
        sorted(apps)
    }

    fn run_in_root(&self, args: &[&str]) -> String {
        let done = self
            .env
            .command(args)
            .current_dir(&self.root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// The apps of the config as PM2 itself reads them, sorted. From a sub-directory, that is their working directory.
    fn original(&self) -> Vec<Value> {
        let package = pm2_testbed::pm2_bin();
        let package = package.parent().unwrap().parent().unwrap();
        let program = "
            const [package, file] = process.argv.slice(1);
            const config = require(package + '/lib/Common.js').parseConfig(require('fs').readFileSync(file), file);
            require('fs').writeSync(1, '\\n=' + JSON.stringify([].concat(config.apps || config.pm2 || config)));
            process.exit(0);
        ";
        let done = std::process::Command::new("node")
            .args(["-e", program, package.as_str(), self.config()])
            .current_dir(self.dir())
            .env("STAGE", "test")
            .output()
            .unwrap();
        let out = String::from_utf8(done.stdout).unwrap();
        let (_, text) = out.rsplit_once("\n=").unwrap();
        let mut apps: Vec<Value> = serde_json::from_str(text).unwrap();
        if self.case.from != "." {
            for app in &mut apps {
                let cwd = app["cwd"].as_str().unwrap_or("").to_owned();
                let cwd = daemon_model::paths::resolve(&self.dir(), &cwd);
                app["cwd"] = json!(cwd.strip_prefix(&self.root).unwrap());
            }
        }
        sorted(apps)
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')')
        .next()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn sorted(mut apps: Vec<Value>) -> Vec<Value> {
    apps.sort_by_key(|app| app["name"].to_string());
    apps
}

/// The definitions below a root, sorted.
fn definitions(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root.join("system/daemons")];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            match path.is_dir() {
                true => dirs.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}
