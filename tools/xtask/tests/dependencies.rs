//! Licences, sources and duplicate versions of all dependencies, checked against `deny.toml` without a network.
//! `cargo deny check` reads the same file; it takes minutes to build, and only the workflow runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, LicenseItem, ParseMode};

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    spec: String,
}

fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.join("../..").canonicalize().unwrap()
}

fn deny() -> Deny {
    toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// The packages that are built on this platform; those for other platforms need not be downloaded for a test.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".into(), "--filter-platform".into(), platform])
        .exec()
        .unwrap()
}

fn is_allowed(package: &Package, allowed: &[String]) -> bool {
    let Some(license) = &package.license else {
        return false;
    };
    let mode = ParseMode {
        allow_slash_as_or_operator: true,
        ..ParseMode::STRICT
    };
    let expression = Expression::parse_mode(license, mode).unwrap();
    expression.evaluate(|requirement| match &requirement.license {
        LicenseItem::Spdx { id, .. } => {
            requirement.addition.is_none() && allowed.iter().any(|name| name == id.name)
        }
        _ => false,
    })
}

#[test]
fn every_licence_is_allowed() {
    let allowed = deny().licenses.allow;
    let refused: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| !is_allowed(package, &allowed))
        .map(|package| format!("{}: {:?}", package.id, package.license))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn every_dependency_comes_from_the_registry_or_this_repository() {
    let allowed = deny().sources.allow_registry;
    let refused: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| match &package.source {
            Some(source) => {
                let source = source.to_string();
                let registry = source.strip_prefix("registry+").unwrap_or(&source);
                !allowed.iter().any(|known| known == registry)
            }
            None => !package.manifest_path.starts_with(root()),
        })
        .map(|package| package.id.to_string())
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_crate_is_used_in_two_versions_but_for_those_that_are_listed() {
    let skipped: BTreeSet<String> = deny().bans.skip.into_iter().map(|skip| skip.spec).collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata().packages {
        let version = &package.version;
        // `0.2`, `1`: the part of a version that decides compatibility for cargo.
        let line = match version.major {
            0 => format!("{}@0.{}", package.name, version.minor),
            major => format!("{}@{major}", package.name),
        };
        versions
            .entry(package.name.to_string())
            .or_default()
            .push(line);
    }
    versions.retain(|_, lines| lines.len() > 1);
    let old: BTreeSet<String> = versions
        .values_mut()
        .flat_map(|lines| {
            lines.sort_by_key(|line| {
                line.split(['@', '.'])
                    .map(|n| n.parse::<u64>().ok())
                    .collect::<Vec<_>>()
            });
            lines.pop();
            lines.clone()
        })
        .collect();
    assert_eq!(old, skipped, "`skip` in deny.toml lists all but the newest");
}
