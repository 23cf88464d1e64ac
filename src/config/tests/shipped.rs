//! The files in `config/`: complete, and taken by the program they are for.

use super::super::settings::{Effect, Kind, SETTINGS, Section, Setting};
use super::*;

const HEAD: &str = "\
# Callboard's configuration: every setting with its default.
#
#   callboard serve --config-file /etc/callboard/callboard.toml
#
# A line that begins with \"#name\" is a setting at its default: take the # away to change it.
# Each key is also a flag (--data-dir) and a variable (CALLBOARD_DATA_DIR, or etcd's
# ETCD_DATA_DIR); when a file is named, only the file counts. Names and meanings are etcd's
# unless a setting says \"Callboard's own\"; etcd's YAML files are read as well. Durations are
# texts like \"100ms\", \"5s\", \"1h30m\". \"All members alike\" marks what should be the same on every
# member of a cluster.";

/// The commented file, as the table has it.
fn commented_toml() -> String {
    let mut lines = vec![HEAD.to_owned()];
    let mut section = None;
    let named = || SETTINGS.iter().filter(|s| s.kind != Kind::Relic);
    for setting in named().filter(|s| s.section != Section::Mailbox) {
        if section.replace(setting.section) != Some(setting.section) {
            lines.push(format!("\n\n# ---- {} ----", setting.section.title()));
        }
        lines.push(describe(setting));
        lines.push(format!("#{} = {}", setting.name, literal(setting)));
    }
    let relics: Vec<&str> =
        SETTINGS.iter().filter(|s| s.kind == Kind::Relic).map(|s| s.name).collect();
    lines.push("\n# Keys that etcd itself has ignored since 2.0 are taken and ignored too:".into());
    lines.push(wrap(&format!("{}.", relics.join(", "))));
    lines.push(format!("\n\n# ---- {} ----", Section::Mailbox.title()));
    lines
        .push("# As flags these are --mailbox-raft-node and so on. A table: it comes last.".into());
    lines.push("[mailbox]".into());
    for setting in named().filter(|s| s.section == Section::Mailbox) {
        lines.push(describe(setting));
        lines.push(format!("#{} = {}", key(setting), literal(setting)));
    }
    lines.join("\n") + "\n"
}

fn key(setting: &Setting) -> &'static str {
    setting.name.strip_prefix("mailbox-").unwrap_or(setting.name)
}

fn describe(setting: &Setting) -> String {
    let mut sentences = vec![setting.help.to_owned()];
    if let Kind::Choice(choice) = setting.kind {
        let choice: Vec<&str> = choice.iter().copied().filter(|w| !w.is_empty()).collect();
        sentences.push(format!("One of: {}.", choice.join(", ")));
    }
    if !setting.etcd {
        sentences.push("Callboard's own.".to_owned());
    }
    if !setting.aliases.is_empty() {
        sentences.push(format!("Also known as {}.", setting.aliases.join(", ")));
    }
    if setting.agree {
        sentences.push("All members alike.".to_owned());
    }
    sentences.extend(match setting.effect {
        Effect::Used => None,
        Effect::Ignored(why) => Some(format!("No effect: {why}.")),
        Effect::Later(part) => Some(format!("No effect yet: it is for {part}.")),
        Effect::NotYet(_) => {
            Some("Not in this version: any other value stops the start.".to_owned())
        }
    });
    format!("\n{}", wrap(&sentences.join(" ")))
}

fn wrap(words: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n")
}

fn literal(setting: &Setting) -> String {
    match setting.kind {
        Kind::Bool | Kind::Count(..) | Kind::Signed => setting.default.to_owned(),
        _ => format!("{:?}", setting.default),
    }
}

/// `UPDATE_GOLDEN=1` rewrites the file from the table.
#[test]
fn the_commented_file_has_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/callboard.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, commented_toml()).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, commented_toml(), "UPDATE_GOLDEN=1 rewrites it from the table");
    let as_it_is = from_file("callboard.toml", &text).unwrap();
    assert_eq!((as_it_is.config, as_it_is.notices.len()), (Config::default(), 0));

    // With every line in force it must say what the defaults say.
    let in_force: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with([' ', '#'])).unwrap_or(line))
        .collect();
    let all = from_file("callboard.toml", &in_force.join("\n")).unwrap();
    assert_eq!(all.config, Config::default());
    for setting in SETTINGS.iter().filter(|s| s.kind != Kind::Relic) {
        let begins = format!("{} = ", key(setting));
        assert!(in_force.iter().any(|line| line.starts_with(&begins)), "{begins}");
    }
}

#[test]
fn the_etcd_style_example_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/etcd-style.yaml");
    let Loaded { config, .. } = loaded(&["--config-file", path.to_str().unwrap()], &[]);
    assert_eq!(config.name, "member-1");
    assert_eq!(config.auto_compaction, AutoCompaction::Period(Duration::from_secs(3600)));
    assert_eq!(verify_bootstrap(&config), Ok(()));
}

#[test]
fn the_single_member_loads_and_nothing_in_it_needs_a_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/single-member.toml");
    let Loaded { config, notices } = loaded(&["--config-file", path.to_str().unwrap()], &[]);
    assert_eq!((config.name.as_str(), notices.len()), ("callboard-1", 0), "{notices:?}");
    assert_eq!(config.auto_compaction, Config::default().auto_compaction);
    assert_eq!(verify_bootstrap(&config), Ok(()));
}
