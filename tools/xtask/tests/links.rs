//! Every link between the pages of this repository has a target, and the index of `docs/` lists every page.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A page's links and headings.
struct Page {
    /// The targets of its links, as written.
    links: Vec<String>,
    /// The anchors of its headings.
    anchors: BTreeSet<String>,
}

fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.join("../..").canonicalize().unwrap()
}

/// All pages, except those of installed or built packages.
fn pages() -> BTreeMap<PathBuf, Page> {
    let mut pages = BTreeMap::new();
    let mut dirs = vec![root()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if path.is_dir() {
                let is_foreign = ["node_modules", "target"].contains(&name.as_str());
                if !is_foreign && (!name.starts_with('.') || name == ".github") {
                    dirs.push(path);
                }
            } else if name.ends_with(".md") {
                let page = read(&std::fs::read_to_string(&path).unwrap());
                pages.insert(path, page);
            }
        }
    }
    pages
}

fn read(text: &str) -> Page {
    let mut page = Page {
        links: Vec::new(),
        anchors: BTreeSet::new(),
    };
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                page.anchors
                    .extend(heading.take().map(|text| anchor(&text)));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    page
}

/// The anchor that GitHub assigns to a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|char| char.is_alphanumeric() || ['-', '_', ' '].contains(char))
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut dead = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            if link.contains("://") {
                if !link.starts_with("https://") {
                    dead.push(format!("{}: {link}", path.display()));
                }
                continue;
            }
            let (file, anchor) = match link.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (link.as_str(), None),
            };
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let is_there = target.canonicalize().is_ok_and(|target| match anchor {
                None => true,
                Some(anchor) => pages
                    .get(&target)
                    .is_some_and(|page| page.anchors.contains(anchor)),
            });
            if !is_there {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_index_of_the_docs_names_every_page() {
    let pages = pages();
    let docs = root().join("docs");
    let index = docs.join("README.md");
    let named: BTreeSet<PathBuf> = pages[&index]
        .links
        .iter()
        .filter_map(|link| docs.join(link.split('#').next()?).canonicalize().ok())
        .collect();
    let missing: Vec<&PathBuf> = pages
        .keys()
        .filter(|path| path.starts_with(&docs) && **path != index && !named.contains(*path))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/README.md does not name {missing:#?}"
    );
}

#[test]
fn anchors_are_those_of_github() {
    assert_eq!(
        anchor("Your environment is not passed on"),
        "your-environment-is-not-passed-on"
    );
    assert_eq!(anchor("`pm2 save` and the dump"), "pm2-save-and-the-dump");
    assert_eq!(anchor("Ctrl-C, in CI"), "ctrl-c-in-ci");
}
