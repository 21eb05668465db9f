//! A type name means one thing in a crate: no two structs, enums, traits or type aliases of a crate share a name.
//!
//! Each file below a crate's `src` is read. What tests or loom models alone compile, types inside functions, and types
//! that a macro writes do not count. Nor do the modules `compat`: their names are another library's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use syn::{Attribute, Item};

/// Where each type of a crate is defined, by its name.
type Definitions = BTreeMap<String, Vec<PathBuf>>;

/// Adds the types that the file `path` and the modules below it define; `read` gives the text of a file, if there is one.
fn file(path: &Path, read: &impl Fn(&Path) -> Option<String>, found: &mut Definitions) {
    let text = read(path).unwrap_or_else(|| panic!("{} cannot be read", path.display()));
    let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent = path.parent().unwrap_or(path);
    let below =
        if ["lib", "main", "mod"].contains(&stem) { parent.into() } else { parent.join(stem) };
    items(syntax.items, path, &below, read, found);
}

/// As [`file`], of the items of one module, whose own modules have their files below `below`.
fn items(
    items_of: Vec<Item>,
    path: &Path,
    below: &Path,
    read: &impl Fn(&Path) -> Option<String>,
    found: &mut Definitions,
) {
    for item in items_of {
        let (attributes, name) = match &item {
            Item::Struct(item) => (&item.attrs, &item.ident),
            Item::Enum(item) => (&item.attrs, &item.ident),
            Item::Trait(item) => (&item.attrs, &item.ident),
            Item::Type(item) => (&item.attrs, &item.ident),
            Item::Mod(item) => (&item.attrs, &item.ident),
            _ => continue,
        };
        if attributes.iter().any(is_for_tests) {
            continue;
        }
        let name = name.to_string();
        match item {
            Item::Mod(_) if name == "compat" => {}
            Item::Mod(module) => match module.content {
                Some((_, inner)) => items(inner, path, &below.join(&name), read, found),
                None => {
                    let places =
                        [below.join(format!("{name}.rs")), below.join(&name).join("mod.rs")];
                    let place = places.iter().find(|place| read(place).is_some());
                    // Elsewhere by an attribute: that file is not read.
                    place.into_iter().for_each(|place| file(place, read, found));
                }
            },
            _ => found.entry(name).or_default().push(path.to_owned()),
        }
    }
}

/// Whether it is `#[cfg(...)]` with `test` or `loom`, and without `not` or `any`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let text = list.tokens.to_string();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    attribute.path().is_ident("cfg")
        && (words.contains(&"test") || words.contains(&"loom"))
        && !words.contains(&"not")
        && !words.contains(&"any")
}

/// The names that are defined more than once, each with its files.
fn repeated(root: &Path, read: &impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let mut found = Definitions::new();
    file(root, read, &mut found);
    let repeated = found.into_iter().filter(|(_, files)| files.len() > 1);
    let told = repeated.map(|(name, files)| {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        format!("{name}: {}", files.join(", "))
    });
    told.collect()
}

#[test]
fn no_type_name_is_defined_twice_in_a_crate() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let mut metadata = MetadataCommand::new();
    let metadata = metadata.manifest_path(root.join("Cargo.toml")).no_deps().exec();
    let metadata = metadata.expect("cargo metadata describes the workspace");
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let found: Vec<String> = targets
        .filter(|target| target.is_lib() || target.is_bin())
        .flat_map(|target| {
            let path = target.src_path.strip_prefix(root).expect("sources lie in the workspace");
            let read = |path: &Path| std::fs::read_to_string(root.join(path)).ok();
            repeated(path.as_std_path(), &read)
        })
        .collect();
    assert!(found.is_empty(), "give each its own name:\n{}", found.join("\n"));
}

#[test]
fn a_planted_repetition_is_found_with_its_files() {
    let files = [
        ("src/lib.rs", "mod a; mod b; struct Line; mod inner { type Page = (); } enum Kind {}"),
        ("src/a/mod.rs", "mod deep; #[cfg(test)] mod tests { struct Line; }"),
        ("src/a/deep.rs", "fn f() { struct Kind; } pub(crate) trait Line {}"),
        ("src/b.rs", "#[cfg(all(test, unix))] struct Page; #[cfg(not(loom))] enum Page {}"),
    ];
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    assert_eq!(
        repeated(Path::new("src/lib.rs"), &read),
        ["Line: src/a/deep.rs, src/lib.rs", "Page: src/b.rs, src/lib.rs"]
    );
}
