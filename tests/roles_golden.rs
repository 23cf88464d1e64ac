//! Plays the conversations in `tests/golden/store` and `tests/golden/raft_node` with the roles
//! themselves: no actor, no clock, no disk. `UPDATE_GOLDEN=1` rewrites the answers.
//!
//! A file holds cases between blank lines; the role lives through all of them. See
//! `tests/golden/README.md` for the commands.

mod support;

mod roles {
    pub mod raft_node;
    pub mod store;
}

use std::path::Path;
use std::{env, fs};

use support::diff;
use support::script::cases;

/// One role in play: takes a line, tells what came of it.
trait Player: Default {
    fn run(&mut self, line: &str) -> Result<Vec<String>, String>;
}

fn play<P: Player>(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no golden files in {}", folder.display());
    let mut differences = Vec::new();
    for path in paths {
        let expected = fs::read_to_string(&path).unwrap();
        let played = play_file::<P>(&expected);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, played).unwrap();
        } else if played != expected {
            let shown = diff::lines(&expected, &played);
            differences.push(format!("{}\n{shown}", path.display()));
        }
    }
    assert!(differences.is_empty(), "- golden, + played:\n\n{}", differences.join("\n"));
}

fn play_file<P: Player>(file: &str) -> String {
    let mut player = P::default();
    let blocks = cases(file).into_iter().map(|case| {
        if case.script.lines().all(|line| line.starts_with('#')) {
            return case.script + "\n";
        }
        let lines = case.script.lines().filter(|line| !line.starts_with('#'));
        let answers: Vec<String> = lines
            .flat_map(|line| player.run(line).unwrap_or_else(|wrong| panic!("{wrong}: {line}")))
            .collect();
        case.text(&answers.join("\n"))
    });
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn golden_store() {
    play::<roles::store::StorePlayer>("store");
}

#[test]
fn golden_raft_node() {
    play::<roles::raft_node::RaftNodePlayer>("raft_node");
}
