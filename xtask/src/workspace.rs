//! What the manifests say: where the workspace is, its members, their features and examples.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The workspace that this program works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// The oldest compiler that the root manifest promises.
    pub(crate) rust_version: String,
    /// The version that all members share.
    pub(crate) version: String,
    /// By name, the version that each dependency on one of ours asks for.
    pub(crate) requirements: BTreeMap<String, String>,
    pub(crate) members: Vec<Member>,
}

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) publish: bool,
    /// Whether the manifest takes `rust-version` from the workspace table.
    pub(crate) inherits_rust_version: bool,
    pub(crate) features: Vec<String>,
    pub(crate) examples: Vec<String>,
}

impl Workspace {
    /// Reads the root manifest and those of all members.
    pub(crate) fn load() -> Result<Self, String> {
        let root = root();
        let manifest: RootManifest = read_toml(&root.join("Cargo.toml"))?;
        let table = manifest.workspace;
        let members = table
            .members
            .iter()
            .map(|dir| Member::load(&root.join(dir)))
            .collect::<Result<_, _>>()?;
        let SharedFields { rust_version, version } = table.package;
        let ours = table.dependencies.into_iter().filter_map(|(name, entry)| match entry {
            Dependency::Ours { version, path: _ } => Some((name, version)),
            Dependency::Other(_) => None,
        });
        Ok(Self { root, rust_version, version, requirements: ours.collect(), members })
    }

    /// Where cargo puts what it builds; handed to cargo explicitly, so that both agree.
    pub(crate) fn target_dir(&self) -> PathBuf {
        let from_env = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
        from_env.map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// The directory of the scenarios that come with the lab.
    pub(crate) fn scenario_dir(&self) -> PathBuf {
        self.root.join("crates/handshake-lab/scenarios")
    }

    /// The members that are meant for a registry.
    pub(crate) fn publishable(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.publish)
    }
}

impl Member {
    fn load(dir: &Path) -> Result<Self, String> {
        let manifest: MemberManifest = read_toml(&dir.join("Cargo.toml"))?;
        let package = manifest.package;
        let mut examples = Vec::new();
        if let Ok(entries) = fs::read_dir(dir.join("examples")) {
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.extension().is_some_and(|extension| extension == "rs") {
                    examples
                        .extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
                }
            }
        }
        examples.sort();
        Ok(Self {
            name: package.name,
            publish: package.publish.unwrap_or(true),
            inherits_rust_version: package.rust_version.is_some_and(|field| field.workspace),
            features: manifest.features.into_keys().filter(|name| name != "default").collect(),
            examples,
        })
    }
}

/// The root of the workspace we stand in; outside of any, that of the one this program was built from.
fn root() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = env::current_dir().unwrap_or_default();
    root_above(&here).unwrap_or_else(|| built_in.parent().unwrap_or(built_in)).to_path_buf()
}

/// A copy of the directory of builds holds a program that was built elsewhere, so the place of the build says nothing.
fn root_above(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file())
}

fn read_toml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let text =
        fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.message()))
}

#[derive(Deserialize)]
struct RootManifest {
    workspace: WorkspaceTable,
}

#[derive(Deserialize)]
struct WorkspaceTable {
    members: Vec<String>,
    package: SharedFields,
    dependencies: BTreeMap<String, Dependency>,
}

/// Ours are those with a path.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dependency {
    Ours {
        #[expect(dead_code, reason = "its presence tells ours from others")]
        path: String,
        #[serde(default)]
        version: String,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SharedFields {
    rust_version: String,
    version: String,
}

#[derive(Deserialize)]
struct MemberManifest {
    package: PackageTable,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PackageTable {
    name: String,
    publish: Option<bool>,
    rust_version: Option<Inherited>,
}

#[derive(Deserialize)]
struct Inherited {
    #[serde(default)]
    workspace: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_anywhere_below_it() {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().unwrap();
        for below in ["", "xtask", "crates/job-core/src"] {
            assert_eq!(root_above(&root.join(below)), Some(root), "from `{below}`");
        }
        assert_eq!(root_above(Path::new("/")), None);
    }
}
