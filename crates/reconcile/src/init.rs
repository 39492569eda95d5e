//! Creates a workspace with one working definition.

use camino::{Utf8Path, Utf8PathBuf};
use daemon_model::{DaemonId, default_app_name, paths};
use files::{Access, Links};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::import::{self, ImportError};

/// Where to look for a script when none is named, in this order.
const SCRIPTS: &[&str] = &[
    "server.js",
    "app.js",
    "index.js",
    "main.js",
    "server.mjs",
    "app.mjs",
    "index.mjs",
    "src/server.js",
    "src/app.js",
    "src/index.js",
    "src/main.js",
    "dist/server.js",
    "dist/index.js",
    "dist/main.js",
    "main.py",
    "app.py",
    "server.py",
    "app.rb",
    "start.sh",
    "run.sh",
];
/// The largest `package.json` or `.gitignore` that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The comment above the first definition.
const COMMENT: &str = "\
;; `pm2-sync sync` makes PM2 run this. To change it, edit this file and sync again.
;; All keys: `docs/definition-reference.md` of pm2-sync.
";

/// The new definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialized {
    /// The workspace's root.
    pub root: Utf8PathBuf,
    /// The daemon.
    pub id: DaemonId,
    /// Its definition, relative to the root.
    pub definition: Utf8PathBuf,
    /// The script, relative to the root.
    pub script: Utf8PathBuf,
}

/// Creates a workspace with one definition, for `script` or for a script that is found.
///
/// # Errors
/// [`ImportError::NoScript`] when no script is found, [`ImportError::ReadFile`] when the named one does not exist,
/// [`ImportError::Taken`] when the definition exists already, [`ImportError::Write`] when it cannot be written.
pub fn init(config: &Config, script: Option<&Utf8Path>) -> Result<Initialized, ImportError> {
    let root = config.root();
    let script = match script {
        Some(script) => {
            let cwd = config.environment.cwd().unwrap_or(root);
            let path = paths::resolve(cwd, script.as_str());
            files::open(path.as_std_path(), Links::Follow).map_err(|source| {
                ImportError::ReadFile {
                    path: script.to_owned(),
                    source,
                }
            })?;
            path.strip_prefix(root)
                .map_or(path.clone(), Utf8Path::to_owned)
        }
        None => find_script(root).ok_or_else(|| ImportError::NoScript(root.to_owned()))?,
    };
    let name = name_for(&script, root);
    let id = DaemonId::new(&name).map_err(ImportError::Into)?;
    let definition = config.layout.definition_name(&id);
    let path = config.layout.definition_path(&id);
    if path.exists() {
        return Err(ImportError::Taken(definition));
    }
    let mut app = Map::new();
    app.insert("name".into(), json!(name));
    let text = match script.is_absolute() {
        true => script.to_string(),
        false => format!("./{script}"),
    };
    app.insert("script".into(), json!(text));
    let mut document = Map::new();
    document.insert("apps".into(), json!([Value::Object(app)]));
    let text = edn_render::print(&document).map_err(|source| ImportError::Unprintable {
        definition: definition.clone(),
        source,
    })?;
    let text = format!("{COMMENT}{text}");
    import::create(&path, text.as_bytes(), Access::Shared)?;
    let out = config.layout.out_dir();
    let generated = out.strip_prefix(root).ok();
    if let Some(top) = generated.and_then(|out| out.components().next()) {
        ignore(root, &format!("/{top}/"))?;
    }
    Ok(Initialized {
        root: root.to_owned(),
        id,
        definition,
        script,
    })
}

/// The script of `package.json`, else the first of the usual ones that exists.
fn find_script(root: &Utf8Path) -> Option<Utf8PathBuf> {
    let package = files::read(
        root.join("package.json").as_std_path(),
        Links::Follow,
        LIMIT,
    );
    let package: Option<Value> = package.ok().and_then(|it| serde_json::from_slice(&it).ok());
    let package = package.unwrap_or_default();
    let start = package["scripts"]["start"].as_str();
    let start = start.and_then(|start| start.strip_prefix("node "));
    let named = [start, package["main"].as_str()];
    let named = named
        .into_iter()
        .flatten()
        .map(|it| it.trim().trim_start_matches("./"));
    named
        .chain(SCRIPTS.iter().copied())
        .find(|script| !script.contains(' ') && root.join(script).is_file())
        .map(Utf8PathBuf::from)
}

/// The app name for a script: the one that PM2 would use, or the workspace folder's if the script's is generic.
fn name_for(script: &Utf8Path, root: &Utf8Path) -> String {
    let name = default_app_name(script.as_str());
    let name = match name.as_str() {
        "index" | "main" | "app" => root.file_name().unwrap_or("app"),
        name => name,
    };
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect();
    let plain = plain.trim_matches('-');
    // PM2 would misread a name of digits only, or `all`.
    match plain.chars().any(char::is_alphabetic) && plain != "all" {
        true => plain.to_owned(),
        false => "app".to_owned(),
    }
}

/// Adds a line to the `.gitignore` of a workspace, unless it is there.
pub(crate) fn ignore(root: &Utf8Path, line: &str) -> Result<(), ImportError> {
    let path = root.join(".gitignore");
    let known = files::read_if_exists(path.as_std_path(), Links::Follow, LIMIT);
    let known = known.map_err(|source| ImportError::ReadFile {
        path: path.clone(),
        source,
    })?;
    let bare = |line: &str| line.trim().trim_matches('/').to_owned();
    let Some(known) = known else {
        return import::create(&path, format!("{line}\n").as_bytes(), Access::Shared);
    };
    let text = String::from_utf8_lossy(&known);
    if text.lines().any(|it| bare(it) == bare(line)) {
        return Ok(());
    }
    let separator = match text.is_empty() || text.ends_with('\n') {
        true => "",
        false => "\n",
    };
    let added = format!("{separator}{line}\n");
    files::append(path.as_std_path(), added.as_bytes())
        .map_err(|source| ImportError::Write { path, source })
}
