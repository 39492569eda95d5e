use std::os::unix::fs::symlink;

use super::*;

/// An artifact, with the header that identifies it.
fn text() -> Arc<str> {
    crate::to_json(&Map::new(), Some(&crate::header(Utf8Path::new("x.edn")))).into()
}

fn store() -> (tempfile::TempDir, Layout, ArtifactStore) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(Utf8Path::from_path(dir.path()).unwrap());
    let store = ArtifactStore::new(&layout);
    (dir, layout, store)
}

fn id(text: &str) -> DaemonId {
    DaemonId::new(text).unwrap()
}

fn mode(path: &Utf8Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn modified(path: &Utf8Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn artifacts_are_private_and_ignored() {
    let (_dir, layout, store) = store();
    let id = id("mcp/serena");
    let path = layout.artifact_path(&id);
    store.prepare().unwrap();
    assert_eq!(store.write(&id, &text()).unwrap(), Outcome::Written);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(layout.out_dir()), 0o700);
    let ignore = layout.root().join(".generated/.gitignore");
    assert_eq!(std::fs::read_to_string(ignore).unwrap(), "*\n");
    assert_eq!(store.list(|_| false).unwrap(), [id]);
}

#[test]
fn the_same_text_leaves_the_file_alone_but_mends_its_mode() {
    let (_dir, layout, store) = store();
    let (id, x) = (id("a"), Arc::<str>::from("x"));
    let path = layout.artifact_path(&id);
    store.write(&id, &x).unwrap();
    let before = modified(&path);
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let store = ArtifactStore::new(&layout);
    assert_eq!(store.compare(&id, &x).unwrap(), OnDisk::Same);
    assert_eq!(mode(&path), 0o644);
    assert_eq!(store.write(&id, &x).unwrap(), Outcome::Unchanged);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(modified(&path), before);
    assert_eq!(store.write(&id, &"y".into()).unwrap(), Outcome::Written);
}

#[test]
fn written_texts_are_cached_until_forgotten() {
    let (_dir, layout, store) = store();
    let (id, text) = (id("a"), text());
    store.write(&id, &text).unwrap();
    std::fs::remove_file(layout.artifact_path(&id)).unwrap();
    assert_eq!(store.compare(&id, &text).unwrap(), OnDisk::Same);
    store.forget();
    assert_eq!(store.compare(&id, &text).unwrap(), OnDisk::Missing);
    assert_eq!(store.write(&id, &text).unwrap(), Outcome::Written);
    // An equal text in another allocation may be another version.
    assert_eq!(store.write(&id, &"other".into()).unwrap(), Outcome::Written);
    store.remove(&id).unwrap();
    assert_eq!(store.write(&id, &text).unwrap(), Outcome::Written);
}

#[test]
fn foreign_files_are_neither_listed_nor_hidden() {
    let (_dir, layout, _) = store();
    let theirs = Layout::with_dirs(layout.root(), "system/daemons", "config", ["node_modules"]);
    let store = ArtifactStore::new(&theirs);
    std::fs::create_dir(theirs.out_dir()).unwrap();
    std::fs::write(theirs.out_dir().join("app.json"), "{\"name\": \"x\"}").unwrap();
    assert_eq!(store.list(|_| false).unwrap(), []);
    let error = store.prepare().unwrap_err();
    assert!(
        matches!(&error, ArtifactError::Foreign { name, .. } if name == "app.json"),
        "{error}"
    );
    assert!(!theirs.out_dir().join(".gitignore").exists());
}

#[test]
fn removing_takes_empty_directories_along() {
    let (_dir, layout, store) = store();
    let (deep, other) = (id("a/b/c"), id("a/d"));
    for id in [&deep, &other] {
        store.write(id, &text()).unwrap();
    }
    store.remove(&deep).unwrap();
    assert!(!layout.out_dir().join("a/b").exists());
    assert_eq!(store.list(|_| false).unwrap(), [other]);
}

#[test]
fn leftovers_of_a_killed_run_are_swept() {
    let (_dir, layout, store) = store();
    store.write(&id("a/b"), &text()).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let leftovers = ["", "a/", "../"].map(|dir| {
        let path = layout.out_dir().join(dir).join(".pm2-sync-x1y2");
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(old).unwrap();
        path
    });
    assert_eq!(store.sweep(|_| false).unwrap(), [id("a/b")]);
    for leftover in leftovers {
        assert!(!leftover.exists(), "{leftover}");
    }
}

#[test]
fn anything_but_a_directory_in_place_of_an_artifact_is_replaced() {
    let (_dir, layout, store) = store();
    store.prepare().unwrap();
    let victim = layout.root().join("victim");
    std::fs::write(&victim, "theirs").unwrap();
    let at = |name: &str| layout.artifact_path(&id(name));
    symlink(&victim, at("link")).unwrap();
    symlink("loop.json", at("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["link", "loop", "socket"] {
        assert!(store.compare(&id(name), &text()).is_err(), "{name}");
        assert!(store.read(&id(name)).is_err(), "{name}");
        assert_eq!(store.write(&id(name), &text()).unwrap(), Outcome::Written);
        assert!(store.read(&id(name)).unwrap().is_some());
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    std::fs::create_dir(at("dir")).unwrap();
    let error = store.write(&id("dir"), &text()).unwrap_err();
    assert!(matches!(error, ArtifactError::Write { .. }), "{error}");
}

#[test]
fn a_linked_directory_is_neither_changed_nor_filled_nor_emptied() {
    for linked in [".generated", ".generated/pm2", ".generated/pm2/a"] {
        let (_dir, layout, store) = store();
        let elsewhere = layout.root().join("elsewhere");
        std::fs::create_dir_all(elsewhere.join("pm2/a")).unwrap();
        let theirs = ["b.json", "pm2/a/b.json"].map(|name| elsewhere.join(name));
        for path in &theirs {
            std::fs::write(path, text().as_bytes()).unwrap();
        }
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).unwrap();
        let link = layout.root().join(linked);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(&elsewhere, &link).unwrap();
        let error = store.write(&id("a/new"), &text()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.ends_with("is a symbolic link, not a directory"),
            "{cause}"
        );
        store.remove(&id("a/b")).unwrap_err();
        if linked != ".generated/pm2/a" {
            store.prepare().unwrap_err();
            store.list(|_| false).unwrap_err();
        }
        assert_eq!(mode(&elsewhere), 0o755);
        assert!(theirs.iter().all(|path| path.exists()));
        let count = elsewhere.read_dir_utf8().unwrap().count();
        assert_eq!(count, 2, "{linked}");
    }
}
