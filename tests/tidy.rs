//! The house rules that a program can check. A breach prints `file:line: rule`.
//!
//! Which room may use which is the table [`ROOMS`]; the other rules are one function each.

use std::fs;
use std::path::Path;

/// The longest file; longer ones hold more than one idea.
const LINES_MAX: usize = 600;
/// Tables: longer with every row, and not harder to read for it.
const LONG_TABLES: [&str; 1] = ["src/config/settings.rs"];

/// What may use what: the first row whose prefix fits a file holds for it. A room is a module of the
/// crate's root; `*` is all of them.
const ROOMS: [(&str, &[&str]); 21] = [
    ("src/types.rs", &[]),
    ("src/command", &["types"]),
    ("src/clock.rs", &["types"]),
    ("src/identity.rs", &["types"]),
    ("src/storage/", &["types", "command", "storage"]),
    ("src/wire/", &["types", "command", "storage", "wire"]),
    ("src/bootstrap/", &["types", "config", "identity", "storage", "clock", "tls", "bootstrap"]),
    ("src/proxy/", &["types", "config", "bootstrap", "http", "metrics", "clock", "tls", "proxy"]),
    ("src/published", &["types", "command", "storage"]),
    ("src/metrics.rs", &["types", "actors"]),
    (
        "src/actors/",
        &[
            "types",
            "command",
            "storage",
            "wire",
            "actors",
            "clock",
            "published",
            "metrics",
            "identity",
            "tls",
        ],
    ),
    (
        "src/http/",
        &[
            "types",
            "command",
            "storage",
            "wire",
            "actors",
            "clock",
            "published",
            "metrics",
            "identity",
            "telemetry",
            "tls",
            "audit_log",
            "http",
        ],
    ),
    ("src/audit_log", &["types", "clock", "audit_log"]),
    ("src/tls/", &["tls"]),
    ("src/config/", &["config", "tls"]),
    ("src/telemetry.rs", &["config", "telemetry"]),
    ("src/node", &NODE),
    ("src/cli/", &["*"]),
    ("src/lib.rs", &["*"]),
    ("src/main.rs", &["cli"]),
    ("src/", &[]), // a new room gets a row here first
];
const NODE: [&str; 16] = [
    "types",
    "command",
    "storage",
    "wire",
    "bootstrap",
    "actors",
    "clock",
    "published",
    "metrics",
    "identity",
    "http",
    "config",
    "telemetry",
    "tls",
    "audit_log",
    "node",
];

/// Files that think: no clock, no I/O, no thread, no runtime, nothing whose order is random.
fn is_pure(path: &str) -> bool {
    const BESIDE_ROLES: [&str; 10] = [
        "src/actors/raft_node/conf_change.rs",
        "src/actors/raft_node/contract.rs",
        "src/actors/raft_node/log.rs",
        "src/actors/raft_node/proposals.rs",
        "src/actors/raft_node/reads.rs",
        "src/actors/store/compactor.rs",
        "src/actors/store/lessor.rs",
        "src/actors/store/v3_lessor.rs",
        "src/actors/store/watch_hub.rs",
        "src/actors/store/range_hub.rs",
    ];
    let storage = path.starts_with("src/storage/") && path != "src/storage/disk.rs";
    let storage = storage || path.starts_with("src/wire/");
    let role =
        path.starts_with("src/actors/") && (path.ends_with("/role.rs") || path.contains("/role/"));
    storage
        || role
        || BESIDE_ROLES.contains(&path)
        || ROOMS[..2].iter().any(|row| path.starts_with(row.0))
}

/// What a pure file must not name. Each is a path; its first part is a crate, a module or a type.
const IMPURE: [&str; 15] = [
    "actix",
    "actix_rt",
    "actix_web",
    "actix_http",
    "tokio",
    "rand",
    "rustix",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::collections::hash_map",
];
/// The same by name alone, wherever it comes from.
const IMPURE_NAMES: [&str; 4] = ["HashMap", "HashSet", "Instant", "SystemTime"];

/// What is wrong with a file.
type Rule = fn(&File) -> Vec<Breach>;

/// A file of the tree.
struct File {
    /// From the root of the repository.
    path: String,
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Breach {
    path: String,
    line: usize,
    rule: String,
}

impl File {
    fn breach(&self, line: usize, rule: impl Into<String>) -> Breach {
        Breach { path: self.path.clone(), line, rule: rule.into() }
    }

    fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// The lines without comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, without_comment(line)))
    }

    /// All paths that are named: imports taken apart, and what is spelled out in the code.
    fn named_paths(&self) -> Vec<(usize, String)> {
        let mut named = Vec::new();
        let mut import: Option<(usize, String)> = None;
        for (line, code) in self.code() {
            let trimmed = code.trim();
            if import.is_none() && is_import(trimmed) {
                import = Some((line, String::new()));
            }
            if let Some((from, mut text)) = import.take() {
                text.push_str(trimmed);
                if trimmed.ends_with(';') {
                    let tree = text.split_once("use ").map_or("", |(_, tree)| tree);
                    expand("", tree.trim_end_matches(';'), &mut |path| named.push((from, path)));
                } else {
                    import = Some((from, text));
                }
                continue;
            }
            for word in code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
                let word = word.trim_matches(':');
                if !word.is_empty() {
                    named.push((line, word.to_owned()));
                }
            }
        }
        named
    }
}

fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|&(at, _)| !line[..at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn is_import(code: &str) -> bool {
    code.starts_with("use ") || (code.starts_with("pub") && code.contains(" use "))
}

/// `a::{b, c::{d, self}}` is `a::b`, `a::c::d` and `a::c`.
fn expand(stem: &str, tree: &str, found: &mut impl FnMut(String)) {
    let tree = tree.trim();
    let tree = tree.split_once(" as ").map_or(tree, |(path, _)| path.trim());
    let join = |path: &str| match (stem, path) {
        ("", path) => path.to_owned(),
        (stem, "self") => stem.to_owned(),
        (stem, path) => format!("{stem}::{path}"),
    };
    let Some((head, inner)) = tree.split_once('{') else {
        if !tree.is_empty() {
            found(join(tree));
        }
        return;
    };
    let head = head.trim_end_matches("::");
    let stem = if head.is_empty() { stem.to_owned() } else { join(head) };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&stem, &inner[from..at], found);
                from = at + 1;
            }
            _ => {}
        }
    }
    expand(&stem, &inner[from..], found);
}

fn begins_with(path: &str, stem: &str) -> bool {
    path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Imports point one way.
fn rooms(file: &File) -> Vec<Breach> {
    let Some((_, may)) = ROOMS.iter().find(|(prefix, _)| file.path.starts_with(prefix)) else {
        return Vec::new();
    };
    let breach = |(line, path): (usize, String)| {
        let inner = path
            .strip_prefix("crate::")
            .or_else(|| path.strip_prefix("callboard::").filter(|_| file.path == "src/main.rs"))?;
        let room = inner.split("::").next()?;
        let allowed = may.contains(&"*") || may.contains(&room);
        (!allowed).then(|| file.breach(line, format!("{} may not use {room}", file.path)))
    };
    file.named_paths().into_iter().filter_map(breach).collect()
}

/// A door, a role and storage know messages, not hosts.
fn hosts(file: &File) -> Vec<Breach> {
    let pure = is_pure(&file.path);
    if !pure && !file.path.starts_with("src/http/") {
        return Vec::new();
    }
    let is_host = |path: &str| {
        let own = pure && begins_with(path, "super::host");
        own || (path.starts_with("crate::actors::") && path.split("::").any(|part| part == "host"))
    };
    let named = file.named_paths().into_iter().filter(|(_, path)| is_host(path));
    named.map(|(line, path)| file.breach(line, format!("knows a host: {path}"))).collect()
}

/// Roles and storage reach around no mailbox.
fn pure(file: &File) -> Vec<Breach> {
    if !is_pure(&file.path) {
        return Vec::new();
    }
    let impure = |path: &str| {
        IMPURE.iter().any(|stem| begins_with(path, stem) && (*stem != path || stem.contains(':')))
            || path.split("::").any(|part| IMPURE_NAMES.contains(&part))
    };
    let named = file.named_paths().into_iter().filter(|(_, path)| impure(path));
    named
        .map(|(line, path)| file.breach(line, format!("roles and storage know no {path}")))
        .collect()
}

/// Each file says first what it is for.
fn heads(file: &File) -> Vec<Breach> {
    let fine = !file.is_rust() || file.text.starts_with("//! ");
    if fine { Vec::new() } else { vec![file.breach(1, "begins with //! and what the file is for")] }
}

/// Nothing is left for later, and no test is switched off.
fn unfinished(file: &File) -> Vec<Breach> {
    const WORDS: [&str; 4] =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore"), "dbg!("];
    if !file.is_rust() || file.path == "tests/tidy.rs" {
        return Vec::new();
    }
    let found = file.code().filter(|(_, code)| WORDS.iter().any(|word| code.contains(word)));
    found.map(|(line, _)| file.breach(line, "nothing unfinished, no test ignored")).collect()
}

/// A file holds one idea.
fn lengths(file: &File) -> Vec<Breach> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= LINES_MAX || LONG_TABLES.contains(&file.path.as_str()) {
        return Vec::new();
    }
    vec![file.breach(LINES_MAX + 1, format!("at most {LINES_MAX} lines, and this has {lines}"))]
}

/// Nothing names a place on the machine of whoever wrote it.
fn machines(file: &File) -> Vec<Breach> {
    const PLACES: [&str; 5] = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/tmp", "/wt"),
    ];
    let lines = file.text.lines().enumerate();
    let found = lines.filter(|(_, line)| PLACES.iter().any(|place| line.contains(place)));
    found.map(|(at, _)| file.breach(at + 1, "no paths of a developer's machine")).collect()
}

/// The pages name only files that are there.
fn pages(file: &File) -> Vec<Breach> {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "docs/", "config/", ".ci/"];
    if !file.has_extension("md") {
        return Vec::new();
    }
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let is_there =
        |name: &str| root().join(name).exists() || root().join(folder).join(name).exists();
    let mut breaches = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let words = line.split(|c: char| c.is_whitespace() || "`(),;|".contains(c));
        let words = words.map(|word| word.trim_end_matches(['.', ':']));
        let words = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
        let words = words.filter(|word| !word.contains(['*', '{', '<', '…', '[']));
        let named = links.chain(words).map(|name| name.split('#').next().unwrap_or(name));
        for name in named.filter(|name| !is_there(name)) {
            breaches.push(file.breach(at + 1, format!("names a file that is not there: {name}")));
        }
    }
    breaches
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that people wrote; not what a tour or a build leaves lying about.
fn tree() -> Vec<File> {
    let mut files = Vec::new();
    for folder in
        ["src", "tests", "benches", "docs", "config", ".ci", "fuzz/src", "fuzz/fuzz_targets"]
    {
        collect(folder, &mut files);
    }
    let own = ["build.rs", "check", "Cargo.toml", "clippy.toml", "deny.toml", "rustfmt.toml"];
    let pages = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    for name in own.into_iter().chain(pages) {
        read(name, &mut files);
    }
    files
}

fn collect(folder: &str, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names.into_iter().filter(|name| name != "proptest-regressions") {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            collect(&path, files);
        } else {
            read(&path, files);
        }
    }
}

/// Adds a file, if it is there and is text.
fn read(path: &str, files: &mut Vec<File>) {
    if let Ok(text) = fs::read_to_string(root().join(path)) {
        files.push(File { path: path.to_owned(), text });
    }
}

#[test]
fn house_rules() {
    let rules: [Rule; 8] = [rooms, hosts, pure, heads, unfinished, lengths, machines, pages];
    let files = tree();
    assert!(files.len() > 100, "the tree was not found");
    let breaches = files.iter().flat_map(|file| rules.iter().flat_map(move |rule| rule(file)));
    let lines: Vec<String> =
        breaches.map(|b| format!("{}:{}: {}", b.path, b.line, b.rule)).collect();
    assert!(lines.is_empty(), "house rules are broken:\n{}", lines.join("\n"));
}

/// Whoever reads how to test, and the machine that tests each change, run the same command.
#[test]
fn the_test_command_is_the_same_everywhere() {
    let command = |path: &str| {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("cargo test"));
        let found: Vec<String> = lines.map(str::to_owned).collect();
        assert_eq!(found.len(), 1, "{path} has one line with the test command: {found:?}");
        found[0].clone()
    };
    assert_eq!(command("README.md"), command(".ci/run"));
}

/// Each rule sees what it is there to see.
#[test]
fn breaches_are_seen() {
    let cases: [(Rule, &str, &str, usize); 15] = [
        (rooms, "src/storage/x.rs", "use crate::types::Index;\nuse crate::actors::store;", 2),
        (rooms, "src/storage/x.rs", "use crate::{\n    types::{Index, Term},\n    http,\n};", 1),
        (rooms, "src/http/x.rs", "fn f() {\n    crate::config::load();\n}", 2),
        (rooms, "src/new.rs", "use crate::types::Index;", 1),
        (hosts, "src/http/x.rs", "use crate::actors::{mailbox, store::host::Store};", 1),
        (hosts, "src/actors/store/role.rs", "use super::host::Store;", 1),
        (pure, "src/storage/x.rs", "use std::{\n    fs,\n    io,\n};", 1),
        (pure, "src/storage/x.rs", "let now = std::time::Instant::now();", 1),
        (pure, "src/actors/store/role.rs", "use std::collections::{BTreeMap, HashMap};", 1),
        (pure, "src/actors/store/role.rs", "use tokio::sync::mpsc;", 1),
        (heads, "src/x.rs", "use std::io;", 1),
        (unfinished, "src/x.rs", concat!("fn f() {\n    todo", "!()\n}"), 2),
        (lengths, "src/x.rs", &"\n".repeat(LINES_MAX + 1), LINES_MAX + 1),
        (machines, "docs/x.md", concat!("see\n/ho", "me/me/x"), 2),
        (pages, "docs/x.md", "see [it](gone.md)", 1),
    ];
    for (rule, path, text, line) in cases {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        let lines: Vec<usize> = rule(&file).iter().map(|breach| breach.line).collect();
        assert_eq!(lines, [line], "{path}: {text}");
    }
    for (rule, path, text) in [
        (pure as Rule, "src/storage/disk.rs", "use std::fs;"),
        (pure, "src/storage/x.rs", "//! No `HashMap`, no `std::fs`.\nlet rand = 1; // std::thread"),
        (rooms, "src/cli/x.rs", "use crate::node;"),
        (hosts, "src/http/x.rs", "let host = request.host();"),
        (pages, "docs/x.md", "`src/{a,b}.rs`, `docs/*.md`, [home](https://example.com/docs/)"),
    ] {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(rule(&file), [], "{path}: {text}");
    }
}
