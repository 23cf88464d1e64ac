//! The fuzz targets with every test run, on a fixed corpus and on mutations of it that a seed decides:
//! they are built, their seeds get where they should, and what a fuzzer would find in its first second is
//! found here. `fuzz/README.md` says how to run them for longer.
//!
//! `CALLBOARD_FUZZ_RUNS` is how many mutations each target gets, `CALLBOARD_FUZZ_SEED` where they begin,
//! `CALLBOARD_FUZZ_TARGETS` which targets (all). A failure prints the input. `CALLBOARD_FUZZ_CORPUS` is a
//! folder into which the inputs to begin with are written, for cargo-fuzz.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[path = "support/random.rs"]
mod random;

use std::{env, fs, path::Path};

use fuzz::Target;
use random::Random;

const ODD: [&[u8]; 12] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xff; 4],
    &[0xff; 8],
    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xdd, 0xff, 0xff, 0xff, 0xff], // a MessagePack array without end
    b"%00",
    b"\"",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":",
];

/// One or a few changes, some of them with a piece of another input.
fn mutated(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0..2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.next() as u8,
            3 => bytes.truncate(at),
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            5 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let from = random.below(other.len());
                let to = (from + 1 + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let odd = ODD[random.below(ODD.len())];
                let end = (at + random.below(2) * odd.len()).min(bytes.len());
                bytes.splice(at..end, odd.iter().copied());
            }
        }
    }
    bytes
}

/// Shows the input that was under way.
struct Shown<'a>(&'a Target, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input {}", self.0.name, self.1.escape_ascii());
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn play(target: &Target, runs: u64, seed: u64) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{}: inputs to begin with", target.name);
    let try_one = |input: &[u8]| {
        let _shown = Shown(target, input);
        fuzz::run(target.name, input);
    };
    if let Ok(corpus) = env::var("CALLBOARD_FUZZ_CORPUS") {
        let folder = Path::new(&corpus).join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{at}")), seed).unwrap();
        }
    }
    try_one(&[]);
    for input in &seeds {
        try_one(input);
    }
    let mut random = Random(seed);
    for _ in 0..runs {
        let one = &seeds[random.below(seeds.len())];
        let other = &seeds[random.below(seeds.len())];
        try_one(&mutated(one, other, &mut random));
    }
}

#[test]
fn every_target_stands_the_corpus_and_mutations_of_it() {
    let wanted = env::var("CALLBOARD_FUZZ_TARGETS").unwrap_or_default();
    let (runs, seed) = (number("CALLBOARD_FUZZ_RUNS", 2000), number("CALLBOARD_FUZZ_SEED", 1));
    std::thread::scope(|scope| {
        for target in fuzz::TARGETS {
            if wanted.is_empty() || wanted.split(',').any(|name| name == target.name) {
                scope.spawn(move || play(target, runs, seed));
            }
        }
    });
}

#[test]
fn every_target_has_its_file_and_its_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let files = fs::read_dir(root.join("fuzz_targets")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in names {
        let text = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("run(\"{name}\", data)")), "{name}");
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name}");
    }
}
