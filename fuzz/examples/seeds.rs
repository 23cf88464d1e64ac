//! Writes the inputs to begin with into `corpus/TARGET/`, where cargo-fuzz looks for them.

use std::{fs, path::Path};

fn main() {
    for target in callboard_fuzz::TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        fs::create_dir_all(&dir).expect("a directory");
        for (at, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{at}")), seed).expect("a file");
        }
    }
}
