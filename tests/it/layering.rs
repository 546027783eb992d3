//! Checks the imports between modules in the source text against the rules of ARCHITECTURE.md.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// Modules that any other module may use.
const GROUND: &[&str] = &["trouble", "limits", "invisible", "date"];

/// Allowed imports of each module of the library from its siblings, in addition to [`GROUND`]; only `pipeline` may use all
/// stages.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("trouble", &[]),
    ("invisible", &[]),
    ("date", &[]),
    ("limits", &["config"]),
    ("exit", &[]),
    ("stdio", &[]),
    ("config", &["event"]),
    ("extract", &[]),
    ("report", &["extract"]),
    ("event", &["extract", "report"]),
    ("encode", &["config", "event"]),
    ("deliver", &[]),
    ("flood", &[]),
    ("net", &["config", "ops"]),
    ("folder", &[]),
    ("source", &["config", "exit", "net", "stdio", "steps"]),
    ("sink", &["config", "deliver", "event", "exit", "folder", "net", "stdio", "steps"]),
    ("steps", &["config", "exit", "net", "ops"]),
    ("history", &["exit", "ledger", "ops", "stdio"]),
    ("ledger", &["folder", "source"]),
    ("migrate", &["config", "event", "exit", "folder", "ledger", "ops", "stdio"]),
    ("ops", &["config", "folder"]),
    ("cli", &["config", "event"]),
    ("service", &["config", "exit", "ledger", "net", "ops", "pipeline"]),
    ("check", &["config", "encode", "event", "exit", "net", "ops", "pipeline", "sink", "source", "stdio", "steps"]),
    ("parse", &["cli", "config", "encode", "event", "exit", "extract", "ledger", "ops", "pipeline", "source", "stdio"]),
    (
        "pipeline",
        &[
            "config", "deliver", "encode", "event", "exit", "extract", "flood", "ledger", "ops", "report", "sink",
            "source",
        ],
    ),
];

/// Paths that the pure stages must not use: they do no I/O.
const PURE: &[&str] = &["date", "extract", "report", "event", "encode", "deliver", "flood"];
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "std::fs",
    "tracing::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "std::env",
    "std::process",
];

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        // `small_disk` is a helper of tests.
        if ["lib", "main", "small_disk"].contains(&module.as_str()) {
            continue;
        }
        let Some(may) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: the module {module} is not in MAY_IMPORT", path.display()));
            continue;
        };
        for import in imports(&text) {
            if import != module && !GROUND.contains(&import.as_str()) && !may.contains(&import.as_str()) {
                wrong.push(format!("{}: {module} must not import {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn source_and_sink_submodules_do_not_know_each_other_s_kind() {
    for (module, path, text) in sources() {
        let other = match module.as_str() {
            "source" => "crate::sink",
            "sink" => "crate::source",
            _ => continue,
        };
        assert!(!text.contains(other), "{} names {other}", path.display());
    }
}

#[test]
fn pure_stages_touch_no_socket_file_clock_or_log() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if PURE.contains(&module.as_str()) {
            wrong.extend(
                IMPURE_WORDS
                    .iter()
                    .filter(|word| text.contains(**word))
                    .map(|word| format!("{}: {word} in a pure stage", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Circles that are allowed, by the modules that they consist of (with all below them), and why.
const CIRCLES: &[(&[&str], &str)] = &[];

#[test]
fn files_import_each_other_in_no_circle_without_a_reason() {
    let imports = import_graph();
    assert!(imports[&path_of("pipeline::sink_queue")].contains(&path_of("encode")), "imports are seen");
    assert!(imports[&path_of("config")].contains(&path_of("config::loader")), "re-exports are seen");
    let circles = circles(&imports);
    let is_in = |circle: &BTreeSet<ModulePath>, modules: &[&str]| {
        circle.iter().all(|module| modules.iter().any(|allowed| module.starts_with(&path_of(allowed))))
    };
    let wrong = circles.iter().filter(|circle| !CIRCLES.iter().any(|(modules, _)| is_in(circle, modules)));
    let wrong: Vec<_> = wrong.map(|circle| shortest(&imports, circle)).collect();
    assert!(wrong.is_empty(), "files import each other:\n{}", wrong.join("\n"));
    let gone = CIRCLES.iter().filter(|(modules, _)| !circles.iter().any(|circle| is_in(circle, modules)));
    let gone: Vec<_> = gone.map(|(modules, _)| modules).collect();
    assert!(gone.is_empty(), "no longer circles, to be removed from CIRCLES: {gone:?}");
}

#[test]
fn files_hold_one_idea() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(_, path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > 1_000)
        .collect();
    assert!(long.is_empty(), "files past 1,000 lines hold more than one idea: {long:?}");
}

/// Returns every file under `src/`: its top-level module, its path, and its text without tests and comments.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "the source tree was found");
    let described = files.into_iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    described
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (module, path, code.join("\n"))
        })
        .collect()
}

/// Returns the names right after `crate::`, also within `use crate::{…}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level_names(group)),
            None => found.push(name_at_start(rest)),
        }
    }
    found
}

/// Returns the first names in a brace group, up to its closing brace.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut names) = (0, true, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && (letter.is_alphabetic() || letter == '_') => {
                names.push(name_at_start(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at_start(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Names of modules from the crate's root: `["config", "form"]`.
type ModulePath = Vec<String>;

fn path_of(path: &str) -> ModulePath {
    path.split("::").map(str::to_owned).collect()
}

/// Returns each module of the library with the modules that it imports or names.
fn import_graph() -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<ModulePath, PathBuf> =
        sources().into_iter().map(|(_, path, _)| (module_of(path.strip_prefix(&root).unwrap()), path)).collect();
    let imports = |module: &ModulePath, path: &PathBuf| {
        let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
        let mut named = Named { module: module.clone(), paths: Vec::new() };
        named.visit_file(&file);
        // A path consists of a module and, after it, an item in there.
        let modules = named.paths.into_iter().filter_map(|mut path| {
            while !path.is_empty() && !files.contains_key(&path) {
                path.pop();
            }
            (!path.is_empty() && path != *module).then_some(path)
        });
        modules.collect()
    };
    let library = files.iter().filter(|(module, _)| !["lib", "main"].contains(&module[0].as_str()));
    library.map(|(module, path)| (module.clone(), imports(module, path))).collect()
}

fn module_of(file: &Path) -> ModulePath {
    let mut module = path_of(&file.with_extension("").to_str().unwrap().replace('/', "::"));
    module.pop_if(|last| last == "mod");
    module
}

type Imports = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// Returns the sets of modules each of which imports all others of its set, directly or through others.
fn circles(imports: &Imports) -> BTreeSet<BTreeSet<ModulePath>> {
    let reached: BTreeMap<_, _> = imports.keys().map(|module| (module, ways(imports, module))).collect();
    let circle = |module: &ModulePath| -> BTreeSet<ModulePath> {
        let others = reached[module].keys().filter(|other| reached[other].contains_key(module));
        others.cloned().collect()
    };
    imports.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// Returns the shortest circle among these modules: `a > b > a`.
fn shortest(imports: &Imports, circle: &BTreeSet<ModulePath>) -> String {
    let ways =
        circle.iter().map(|module| [std::slice::from_ref(module), ways(imports, module)[module].as_slice()].concat());
    let shortest = ways.min_by_key(Vec::len).unwrap();
    let shortest: Vec<_> = shortest.iter().map(|module| module.join("::")).collect();
    format!("{} (in a circle of {} files)", shortest.join(" > "), circle.len())
}

/// Returns every module that `from` imports, directly or through others, with the shortest way there.
fn ways(imports: &Imports, from: &ModulePath) -> BTreeMap<ModulePath, Vec<ModulePath>> {
    let mut ways = BTreeMap::new();
    let mut next = VecDeque::from([(from, Vec::new())]);
    while let Some((module, way)) = next.pop_front() {
        for import in &imports[module] {
            if !ways.contains_key(import) {
                let way = [way.as_slice(), std::slice::from_ref(import)].concat();
                ways.insert(import.clone(), way.clone());
                next.push_back((import, way));
            }
        }
    }
    ways
}

/// Collects the paths within this crate that a file uses outside its tests.
struct Named {
    module: ModulePath,
    paths: Vec<ModulePath>,
}

impl Named {
    /// Adds a path as written, resolved from the crate's root.
    fn add(&mut self, written: &[String]) {
        let (mut path, mut rest) = match written.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &written[1..]),
            Some("self") => (self.module.clone(), &written[1..]),
            Some("super") => (self.module.clone(), written),
            // A submodule; or an external crate, an item or something imported, which no submodule has the name of.
            Some(_) => (self.module.clone(), written),
            None => return,
        };
        while rest.first().is_some_and(|name| name == "super") {
            path.pop();
            rest = &rest[1..];
        }
        path.extend_from_slice(rest);
        self.paths.push(path);
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.add_tree(&[], &import.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&names);
        visit::visit_path(self, path);
    }

    // `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg")) {
            visit::visit_item_mod(self, module);
        }
    }
}
