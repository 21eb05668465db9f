//! No two files of a crate import each other, directly or through others.
//!
//! Each crate is read as rustc reads it: from its root along its `mod` items, without what `#[cfg(test)]` leaves
//! out. A file imports another where a path in it (a `use`, a type, an expression, or one inside a macro) names
//! something that the other defines; a re-export is followed to the definition, and is no import of its own.
//! The same holds for the folders of a crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree, Visibility};

/// The segments of a path below the crate's root.
type Segments = Vec<String>;

/// A module of one crate, inline or with a file of its own.
#[derive(Debug, Default)]
struct Module {
    path: Segments,
    file: String,
    children: BTreeMap<String, usize>,
    /// Names that the module defines itself.
    items: BTreeSet<String>,
    /// Names that it takes from elsewhere, and what they stand for.
    uses: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
    /// Paths in its code, those of its private `use` items included.
    mentions: BTreeSet<Segments>,
}

/// All modules of one crate; the first is the root.
#[derive(Debug, Default)]
struct Modules(Vec<Module>);

impl Modules {
    /// Reads the crate whose root is `root`; `read` gives the text of a file, if there is one.
    fn load(root: &Path, read: &impl Fn(&Path) -> Option<String>) -> Self {
        let mut modules = Self::default();
        let dir = root.parent().unwrap_or_else(|| Path::new(""));
        modules.load_file(root, dir, Vec::new(), read);
        modules
    }

    fn load_file(
        &mut self,
        file: &Path,
        dir: &Path,
        path: Segments,
        read: &impl Fn(&Path) -> Option<String>,
    ) -> usize {
        let text = read(file).unwrap_or_else(|| panic!("{} cannot be read", file.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.add(syntax.items, file, dir, path, read)
    }

    /// Adds a module whose own submodules are looked for below `dir`.
    fn add(
        &mut self,
        items: Vec<Item>,
        file: &Path,
        dir: &Path,
        path: Segments,
        read: &impl Fn(&Path) -> Option<String>,
    ) -> usize {
        let index = self.0.len();
        let name = file.to_string_lossy().into_owned();
        self.0.push(Module { path: path.clone(), file: name, ..Module::default() });
        let (submodules, items): (Vec<_>, Vec<_>) = items
            .into_iter()
            .filter(|item| !attributes(item).iter().any(is_for_tests))
            .partition(|item| matches!(item, Item::Mod(_)));
        for item in submodules {
            let Item::Mod(item) = item else { continue };
            let child = item.ident.to_string();
            let mut below = path.clone();
            below.push(child.clone());
            let child_dir = dir.join(&child);
            let child_index = match item.content {
                Some((_, items)) => self.add(items, file, &child_dir, below, read),
                None => {
                    let candidates = match path_attribute(&item.attrs) {
                        Some(place) => vec![file.parent().unwrap_or(dir).join(place)],
                        None => vec![dir.join(format!("{child}.rs")), child_dir.join("mod.rs")],
                    };
                    let found = candidates.into_iter().find(|candidate| read(candidate).is_some());
                    let found = found.unwrap_or_else(|| {
                        panic!("no file for `mod {child}` of {name:?}", name = file)
                    });
                    self.load_file(&found, &child_dir, below, read)
                }
            };
            self.0[index].children.insert(child, child_index);
        }
        let module = &mut self.0[index];
        for item in &items {
            module.items.extend(name_of(item));
            if let Item::Use(item) = item {
                let own = matches!(item.vis, Visibility::Inherited);
                module.add_use(&item.tree, Vec::new(), own);
            } else {
                Mentions(module).visit_item(item);
            }
        }
        index
    }

    /// The module that finally defines what `segments` names, if it is one of this crate.
    fn definition(&self, segments: &[String], depth: usize) -> Option<usize> {
        let mut index = 0;
        for (position, segment) in segments.iter().enumerate() {
            let module = &self.0[index];
            if let Some(child) = module.children.get(segment) {
                index = *child;
                continue;
            }
            if module.items.contains(segment) || depth == 0 {
                return Some(index);
            }
            let rest = &segments[position + 1..];
            if let Some(target) = module.uses.get(segment) {
                return self.definition(&self.absolute(index, target, rest)?, depth - 1);
            }
            let from_glob = module.globs.iter().find_map(|target| {
                let target = self.absolute(index, target, &segments[position..])?;
                self.exists(&target).then(|| self.definition(&target, depth - 1)).flatten()
            });
            return Some(from_glob.unwrap_or(index));
        }
        Some(index)
    }

    /// Whether some module defines exactly this name.
    fn exists(&self, segments: &[String]) -> bool {
        let Some((name, path)) = segments.split_last() else { return false };
        self.0.iter().any(|module| {
            module.path == path
                && (module.items.contains(name)
                    || module.children.contains_key(name)
                    || module.uses.contains_key(name))
        })
    }

    /// `path`, as the module `index` writes it, from the root of the crate; `None` if it leads into another crate.
    fn absolute(&self, index: usize, path: &[String], rest: &[String]) -> Option<Segments> {
        let module = &self.0[index];
        let mut base = module.path.clone();
        let mut segments = path.iter();
        let first = path.first()?;
        match first.as_str() {
            "crate" => {
                base.clear();
                segments.next();
            }
            "self" => drop(segments.next()),
            "super" => {
                while segments.clone().next().is_some_and(|segment| segment == "super") {
                    base.pop()?;
                    segments.next();
                }
            }
            name if module.children.contains_key(name) => {}
            _ => return None,
        }
        base.extend(segments.cloned());
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// Which file imports which, each with one path that does.
    fn imports(&self) -> BTreeMap<(String, String), String> {
        let mut imports = BTreeMap::new();
        for (index, module) in self.0.iter().enumerate() {
            for mention in &module.mentions {
                let Some(absolute) = self.absolute(index, mention, &[]) else { continue };
                let Some(target) = self.definition(&absolute, 8) else { continue };
                let edge = (module.file.clone(), self.0[target].file.clone());
                if edge.0 != edge.1 {
                    imports.entry(edge).or_insert_with(|| mention.join("::"));
                }
            }
        }
        imports
    }
}

impl Module {
    fn add_use(&mut self, tree: &UseTree, mut prefix: Segments, own: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(&path.tree, prefix, own);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix.clone(), own);
                }
            }
            UseTree::Name(name) if name.ident == "self" => {
                let last = prefix.last().cloned().unwrap_or_default();
                self.add_name(last, prefix, own);
            }
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.add_name(name.ident.to_string(), prefix, own);
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.add_name(rename.rename.to_string(), prefix, own);
            }
            UseTree::Glob(_) => {
                if own {
                    self.mentions.insert(prefix.clone());
                }
                self.globs.push(prefix);
            }
        }
    }

    fn add_name(&mut self, name: String, path: Segments, own: bool) {
        if own {
            self.mentions.insert(path.clone());
        }
        self.uses.insert(name, path);
    }
}

/// Collects the paths of an item into its module.
struct Mentions<'a>(&'a mut Module);

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.0.mentions.insert(segments);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Inside a function: it names something, and the function alone sees the name.
        let mut inner = Module::default();
        inner.add_use(&item.tree, Vec::new(), true);
        self.0.mentions.extend(inner.mentions);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        paths_in(&item.tokens, &mut self.0.mentions);
        syn::visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// The paths among the tokens of a macro.
fn paths_in(tokens: &TokenStream, paths: &mut BTreeSet<Segments>) {
    let mut path = Segments::new();
    let mut colons = 0;
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                path.push(ident.to_string());
                colons = 0;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                colons += 1;
                continue;
            }
            TokenTree::Ident(ident) => {
                finish(&mut path, paths);
                path.push(ident.to_string());
                colons = 0;
                continue;
            }
            TokenTree::Group(group) => paths_in(&group.stream(), paths),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        finish(&mut path, paths);
        colons = 0;
    }
    finish(&mut path, paths);
}

fn finish(path: &mut Segments, paths: &mut BTreeSet<Segments>) {
    let path = std::mem::take(path);
    if path.len() > 1 {
        paths.insert(path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, ...))]` and the like, but not `#[cfg(not(test))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    if !attribute.path().is_ident("cfg") {
        return false;
    }
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let text = list.tokens.to_string();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    words.contains(&"test") && !words.contains(&"not") && !words.contains(&"any")
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(literal) = &pair.value else { return None };
        let syn::Lit::Str(text) = &literal.lit else { return None };
        Some(text.value())
    })
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// For each file that is part of a circle, the shortest circle through it; each circle once.
fn circles(imports: &BTreeMap<(String, String), String>) -> Vec<String> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in imports.keys() {
        next.entry(from).or_default().push(to);
    }
    let mut found = BTreeMap::new();
    for start in next.keys() {
        if let Some(circle) = shortest_circle(start, &next) {
            let members: BTreeSet<_> = circle.iter().copied().collect();
            found.entry(members).or_insert(circle);
        }
    }
    let mut circles: Vec<_> = found.into_values().collect();
    circles.sort_by_key(Vec::len);
    circles
        .into_iter()
        .map(|circle| {
            let edges = circle.iter().zip(circle.iter().cycle().skip(1));
            let steps = edges.map(|(from, to)| {
                let path = &imports[&((*from).to_owned(), (*to).to_owned())];
                format!("  {from} names `{path}` of {to}")
            });
            steps.collect::<Vec<_>>().join("\n")
        })
        .collect()
}

fn shortest_circle<'a>(
    start: &'a str,
    next: &BTreeMap<&'a str, Vec<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for to in next.get(file).into_iter().flatten().copied() {
            if to == start {
                let mut circle = vec![file];
                while let Some(earlier) = before.get(circle[circle.len() - 1]) {
                    circle.push(earlier);
                }
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(to) {
                before.insert(to, file);
                queue.push_back(to);
            }
        }
    }
    None
}

/// The imports between the folders directly below a crate's `src`; a file there stands for itself.
fn between_folders(
    imports: &BTreeMap<(String, String), String>,
) -> BTreeMap<(String, String), String> {
    let folder = |file: &str| match file.split_once("src/") {
        Some((crate_dir, below)) => {
            format!("{crate_dir}src/{}", below.split('/').next().unwrap_or(below))
        }
        None => file.to_owned(),
    };
    imports
        .iter()
        .map(|((from, to), path)| ((folder(from), folder(to)), path.clone()))
        .filter(|((from, to), _)| from != to)
        .collect()
}

/// The circles of every crate of the workspace, as text.
fn circles_of_the_workspace() -> Vec<(String, Vec<String>)> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata describes the workspace");
    let mut all = Vec::new();
    for package in &metadata.packages {
        let targets = package.targets.iter().filter(|target| target.is_lib() || target.is_bin());
        for target in targets {
            let path = target.src_path.strip_prefix(root).expect("sources lie in the workspace");
            let read = |path: &Path| std::fs::read_to_string(root.join(path)).ok();
            let modules = Modules::load(path.as_std_path(), &read);
            let imports = modules.imports();
            let mut found = circles(&imports);
            found.extend(circles(&between_folders(&imports)));
            // Two files directly below `src` stand for themselves in both.
            found.sort();
            found.dedup();
            all.push((package.name.to_string(), found));
        }
    }
    all
}

#[test]
fn no_two_files_of_a_crate_import_each_other() {
    let mut found = Vec::new();
    for (name, circles) in circles_of_the_workspace() {
        if !circles.is_empty() {
            found.push(format!("{name}:\n{}\n", circles.join("\n\n")));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// A crate of the given files; `src/lib.rs` is its root.
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let files: BTreeMap<PathBuf, String> =
        files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    let read = |path: &Path| files.get(path).cloned();
    circles(&Modules::load(Path::new("src/lib.rs"), &read).imports())
}

#[test]
fn a_planted_circle_is_found_and_told_file_by_file() {
    let found = planted(&[
        ("src/lib.rs", "mod a; mod b; mod c; pub use a::A;"),
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("src/b.rs", "pub struct B; fn f() { println!(\"{}\", crate::c::C); }"),
        ("src/c.rs", "pub const C: u8 = 0; fn f(_: crate::A) {}"),
    ]);
    let expected = "  src/a.rs names `crate::b::B` of src/b.rs\n  \
                    src/b.rs names `crate::c::C` of src/c.rs\n  \
                    src/c.rs names `crate::A` of src/a.rs";
    assert_eq!(found, [expected]);
}

#[test]
fn a_parent_and_a_child_that_need_each_other_are_a_circle() {
    let found = planted(&[
        ("src/lib.rs", "mod a; pub struct Root; fn f() { a::run() }"),
        ("src/a/mod.rs", "use super::Root; pub fn run() {}"),
    ]);
    // The child's file is found beside `lib.rs` as well as in a folder.
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn two_folders_without_a_circle_of_files_are_a_circle_of_folders() {
    let imports = BTreeMap::from([
        (("src/a/x.rs".to_owned(), "src/b/x.rs".to_owned()), "crate::b::x".to_owned()),
        (("src/b/y.rs".to_owned(), "src/a/y.rs".to_owned()), "crate::a::y".to_owned()),
    ]);
    assert_eq!(circles(&imports), Vec::<String>::new());
    let expected = "  src/a names `crate::b::x` of src/b\n  src/b names `crate::a::y` of src/a";
    assert_eq!(circles(&between_folders(&imports)), [expected]);
}

#[test]
fn re_exports_tests_and_other_crates_are_no_circle() {
    let found = planted(&[
        ("src/lib.rs", "mod a; mod b; pub use a::*; pub use b::B;"),
        ("src/a.rs", "use crate::B; pub struct A(B); #[cfg(test)] mod tests { use super::*; }"),
        ("src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; } use std::fmt;"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
#[should_panic(expected = "no file for `mod missing`")]
fn a_module_without_a_file_is_told() {
    planted(&[("src/lib.rs", "mod missing;")]);
}
