//! `callboard cert`: a private authority, and certificates of members and clients, for mutual TLS in a
//! minute. What it makes is PEM, as any other tool makes it; the server knows nothing of this command.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::Streams;
use crate::clock::wall_clock;
use crate::config::ExitStatus;
use crate::tls::authority::{self, DAYS_MAX, Pair, Validity};

pub(super) fn command() -> Command {
    Command::new("cert")
        .about("Make a private authority, and certificates of members and clients")
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .subcommand(kind("ca", "3650").about("Make the authority: ca.crt and ca.key"))
        .subcommand(
            kind("member", "365")
                .about("Make a member's certificate, signed by the authority: member-NAME.crt")
                .arg(name("Its name, the certificate's CN"))
                .arg(
                    Arg::new("host")
                        .long("host")
                        .required(true)
                        .value_delimiter(',')
                        .action(ArgAction::Append)
                        .help("Addresses and DNS names under which it is called"),
                ),
        )
        .subcommand(
            kind("client", "365")
                .about("Make a client's certificate, signed by the authority: client-NAME.crt")
                .arg(name("The user, the certificate's CN")),
        )
}

/// What all kinds of certificates have.
fn kind(name: &'static str, days: &'static str) -> Command {
    Command::new(name)
        .disable_version_flag(true)
        .arg(
            Arg::new("dir")
                .long("dir")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Where the files are put, and the authority's are found"),
        )
        .arg(
            Arg::new("days")
                .long("days")
                .default_value(days)
                .value_parser(value_parser!(u32).range(1..=i64::from(DAYS_MAX)))
                .help("How long it is good"),
        )
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Replace files that are there"),
        )
}

fn name(help: &'static str) -> Arg {
    Arg::new("name").long("name").required(true).help(help)
}

pub(super) fn help() -> String {
    let mut help = command().bin_name("callboard cert");
    let kinds = ["ca", "member", "client"].map(|kind| {
        let kind = help.find_subcommand_mut(kind).expect("they are above");
        let named = kind.clone().bin_name(format!("callboard cert {}", kind.get_name()));
        named.disable_help_flag(true).render_help().to_string()
    });
    kinds.join("\n")
}

pub(super) fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let matches = match command().no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            streams.complain(format_args!("cert: {}", in_one_line(&error)));
            return ExitStatus::Usage.code();
        }
        Err(_) => {
            streams.answer(&help());
            return 0;
        }
    };
    let made = match matches.subcommand() {
        Some(("member", asked)) => make_member(asked),
        Some(("client", asked)) => make_client(asked),
        Some((_, asked)) => make_authority(asked),
        None => return ExitStatus::Usage.code(), // clap has refused it
    };
    match made {
        Ok(told) => {
            streams.answer(&told);
            0
        }
        Err(error) => {
            streams.complain(format_args!("cert: {error}"));
            ExitStatus::Failure.code()
        }
    }
}

/// What clap has to say, without its usage.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::MissingSubcommand
        || error.kind() == clap::error::ErrorKind::InvalidSubcommand
    {
        return "allowed: ca, member, client".to_owned();
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn make_authority(asked: &ArgMatches) -> Result<String, String> {
    let files = Files::of(asked, "ca")?;
    let validity = validity(asked);
    let pair = authority::new_authority(validity).map_err(|error| error.to_string())?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&files.dir)
        .map_err(|error| failed("make", &files.dir, &error))?;
    files.keep(&pair)?;
    Ok(format!(
        "{}keep {} where no member and no client runs: who has it can be anyone\n",
        files.made(validity),
        files.key.display(),
    ))
}

fn make_member(asked: &ArgMatches) -> Result<String, String> {
    let name = plain_name(asked)?;
    if name == "root" {
        return Err("--name=root: a member must not be taken for the user root".to_owned());
    }
    let files = Files::of(asked, &format!("member-{name}"))?;
    let hosts: Vec<String> = asked.get_many("host").unwrap_or_default().cloned().collect();
    let (ca, validity) = (files.authority()?, validity(asked));
    let pair = authority::for_member(&ca, name, &hosts, validity);
    files.keep(&pair.map_err(|error| files.refused(&error))?)?;
    let (cert, key, ca) = (files.cert.display(), files.key.display(), files.ca());
    Ok(format!(
        "{}flags of serve, beside https in listen-client-urls and advertise-client-urls:\n  --cert-file={cert} --key-file={key} --client-cert-auth --trusted-ca-file={ca}\n\
         if the authority is for members alone, beside https in listen-peer-urls and initial-advertise-peer-urls:\n  --peer-cert-file={cert} --peer-key-file={key} --peer-client-cert-auth --peer-trusted-ca-file={ca}\n",
        files.made(validity),
        ca = ca.display(),
    ))
}

fn make_client(asked: &ArgMatches) -> Result<String, String> {
    let name = plain_name(asked)?;
    let files = Files::of(asked, &format!("client-{name}"))?;
    let (ca, validity) = (files.authority()?, validity(asked));
    let pair = authority::for_client(&ca, name, validity);
    files.keep(&pair.map_err(|error| files.refused(&error))?)?;
    let (cert, key, ca) = (files.cert.display(), files.key.display(), files.ca());
    Ok(format!(
        "{}flags of etcdctl, and of curl:\n  --cacert {} --cert {cert} --key {key}\n",
        files.made(validity),
        ca.display(),
    ))
}

fn validity(asked: &ArgMatches) -> Validity {
    let days = asked.get_one("days").copied().unwrap_or(1);
    Validity { now: wall_clock().0 / 1_000_000_000, days }
}

/// The name, which is a part of file names too.
fn plain_name(asked: &ArgMatches) -> Result<&str, String> {
    let name = asked.get_one::<String>("name").map_or("", String::as_str);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    // 64 is the longest common name that X.509 has.
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("--name={name:?}: allowed: 1 to 64 letters, digits and . _ - @"));
    }
    Ok(name)
}

/// A certificate and its key, and the authority beside them.
struct Files {
    dir: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    force: bool,
}

impl Files {
    /// Those of `stem`, which may be written.
    fn of(asked: &ArgMatches, stem: &str) -> Result<Files, String> {
        let dir = asked.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
        let path = |extension| dir.join(format!("{stem}.{extension}"));
        let files =
            Files { cert: path("crt"), key: path("key"), dir, force: asked.get_flag("force") };
        let there = [&files.cert, &files.key].into_iter().find(|path| path.exists());
        match there {
            Some(path) if !files.force => {
                Err(format!("{}: is there already; --force replaces it", path.display()))
            }
            _ => Ok(files),
        }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    fn authority(&self) -> Result<Pair, String> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "{}: not found; make the authority first: callboard cert ca --dir {}",
                    path.display(),
                    self.dir.display()
                ),
                _ => failed("read", path, &error),
            })
        };
        Ok(Pair { certificate: read(&self.ca())?, key: read(&self.dir.join("ca.key"))? })
    }

    /// The key first: a certificate whose key is lost is of no use.
    fn keep(&self, pair: &Pair) -> Result<(), String> {
        for (path, text, mode) in
            [(&self.key, &pair.key, 0o600), (&self.cert, &pair.certificate, 0o644)]
        {
            self.write(path, text, mode).map_err(|error| failed("write", path, &error))?;
        }
        Ok(())
    }

    /// Made anew, so that no file keeps wider rights than it should have. With --force it is replaced in
    /// one step.
    fn write(&self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        let fresh = if self.force { path.with_added_extension("new") } else { path.to_owned() };
        if self.force {
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if self.force { fs::rename(&fresh, path) } else { Ok(()) }
    }

    fn refused(&self, error: &authority::AuthorityError) -> String {
        use authority::AuthorityError::Host;
        match error {
            Host(_) => format!("--host: {error}"),
            _ => format!("{}: {error}", self.ca().display()),
        }
    }

    fn made(&self, validity: Validity) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("made {cert} and {key}, good for {} days\n", validity.days)
    }
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {operation} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn ran(args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code =
            run(args.iter().map(OsString::from), &mut Streams { out: &mut out, err: &mut err });
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn keys_are_their_owners_and_nothing_is_overwritten_unasked() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("certs");
        let text = dir.display().to_string();
        assert_eq!(ran(&["ca", "--dir", &text]).0, 0);
        let member = ["member", "--dir", &text, "--name", "n1", "--host", "127.0.0.1,a.example"];
        let (code, out, err) = ran(&member);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains(&format!("--cert-file={text}/member-n1.crt")), "{out}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let key = dir.join("member-n1.key");
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&key), 0o600);
        assert_eq!(mode(&dir.join("ca.key")), 0o600);
        let before = fs::read(&key).unwrap();
        let (code, _, err) = ran(&member);
        assert_eq!(code, 1);
        assert!(err.contains("member-n1.crt: is there already; --force replaces it"), "{err}");
        assert_eq!(fs::read(&key).unwrap(), before);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ran(&[&member[..], &["--force"]].concat()).0, 0);
        assert_ne!(fs::read(&key).unwrap(), before);
        assert_eq!(mode(&key), 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4, "nothing else is left there");
    }

    #[test]
    fn mistakes_are_one_line_that_says_what_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("certs").display().to_string();
        let there = |rest: &[&'static str]| -> Vec<String> {
            let (kind, rest) = rest.split_first().unwrap();
            let words = [*kind, "--dir", &dir].into_iter().chain(rest.iter().copied());
            words.map(str::to_owned).collect()
        };
        let check = |args: Vec<String>, status: u8, part: &str| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let (code, out, err) = ran(&args);
            assert_eq!((code, out.as_str()), (status, ""), "{args:?}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            assert!(err.starts_with("callboard: cert: ") && err.contains(part), "{err}");
        };
        let alice = ["client", "--name", "alice"];
        check(there(&alice), 1, "make the authority first");
        assert_eq!(ran(&["ca", "--dir", &dir, "--days", "100"]).0, 0);
        check(there(&alice), 1, "the authority ends in ");
        check(there(&["client", "--name", "../a"]), 1, "allowed: 1 to 64 letters");
        check(there(&["client", "--name", ""]), 1, "allowed: 1 to 64 letters");
        check(there(&["member", "--name", "root", "--host", "a"]), 1, "the user root");
        let odd = ["member", "--days=1", "--name=n", "--host=a b"];
        check(there(&odd), 1, "--host: \"a b\" is no host");
        check(there(&["member", "--name", "n"]), 2, "--host");
        check(there(&["ca", "--days", "0"]), 2, "0 is not in 1..=36500");
        check(Vec::new(), 2, "allowed: ca, member, client");
        check(vec!["x".to_owned()], 2, "allowed: ca, member, client");
        check(vec!["ca".to_owned()], 2, "--dir");
    }

    #[test]
    fn help_shows_every_kind() {
        for args in [&["--help"][..], &["member", "--help"]] {
            let (code, out, _) = ran(args);
            assert_eq!(code, 0);
            for part in ["cert ca", "cert member", "cert client", "--host", "--days"] {
                assert!(out.contains(part), "{part}: {out}");
            }
        }
    }
}
