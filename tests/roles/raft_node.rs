//! `RaftNode`'s role as a conversation.

use callboard::actors::raft_node::role::{Boot, Effect, Input, ReadId, Role};
use callboard::command::ProposalId;
use callboard::types::{Index, MemberId, Term};
use raft::eraftpb::{ConfState, Entry, HardState};

use crate::Player;

#[derive(Default)]
pub struct RaftNodePlayer(Option<Role>);

fn numbers(text: &str) -> Result<Vec<u64>, String> {
    text.split([',', ' ']).map(|n| n.parse().map_err(|_| format!("{n} is no number"))).collect()
}

fn start(voters: &str, log: &str) -> Result<Role, String> {
    let log = if log.is_empty() { Vec::new() } else { numbers(log)? };
    // Applied up to the first of these, committed up to the second, the log ends with the third.
    let [applied, commit, last] = log.try_into().unwrap_or([0; 3]);
    let entries = (applied + 1..=last).map(|index| {
        let data = format!("entry {index}").into();
        Entry { index, term: 2, data, ..Entry::default() }
    });
    let term = if last == 0 { 0 } else { 2 };
    let boot = Boot {
        id: MemberId(7),
        election_ticks: 10,
        pre_vote: true,
        uncommitted_bytes_max: 1 << 20,
        catch_up_entries: 100,
        seed: 1,
        applied: Index(applied),
        applied_term: Term(if applied == 0 { 0 } else { 2 }),
        hard_state: HardState { term, commit, ..HardState::default() },
        conf_state: ConfState::from((numbers(voters)?, Vec::new())),
        entries: entries.collect(),
    };
    Role::new(boot, &slog::Logger::root(slog::Discard, slog::o!())).map_err(|e| e.to_string())
}

fn texts(entries: &[Entry]) -> String {
    let texts = entries.iter().map(|entry| {
        let data = String::from_utf8_lossy(&entry.data);
        let data = match data.len() {
            0 => "nothing".to_owned(),
            len @ 100.. => format!("{len} bytes"),
            _ => data.into_owned(),
        };
        format!("{}/{} {data}", entry.index, entry.term)
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn ids(ids: &[ReadId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", ")
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Send(messages) => {
            let sent = messages
                .iter()
                .map(|m| format!("{:?} of term {} to {}", m.get_msg_type(), m.term, m.to));
            format!("send {}", sent.collect::<Vec<_>>().join(", "))
        }
        Effect::Append { number, entries, hard_state, must_sync } => {
            let mut line = format!("append #{number}");
            if !entries.is_empty() {
                line.extend([": ", &texts(entries)]);
            }
            if let Some(HardState { term, vote, commit, .. }) = hard_state {
                line = format!("{line}; term {term}, vote {vote}, commit {commit}");
            }
            line + if *must_sync { "; sync" } else { "" }
        }
        Effect::Apply(entries) => format!("apply {}", texts(entries)),
        Effect::Refuse(id, error) => format!("refuse {}: {error}", id.0),
        Effect::LostLead => "the lead is lost".to_owned(),
        Effect::ReadReady(reads, index) => format!("read {} is served at {index}", ids(reads)),
        Effect::ReadFailed(reads, error) => format!("read {} fails: {error}", ids(reads)),
    }
}

impl Player for RaftNodePlayer {
    fn run(&mut self, text: &str) -> Result<Vec<String>, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        if verb == "start" {
            let (voters, log) = rest.split_once(' ').unwrap_or((rest, ""));
            self.0 = Some(start(voters, log)?);
            return Ok(Vec::new());
        }
        let role = self.0.as_mut().ok_or("start it first")?;
        let number = |text: &str| numbers(text).map(|numbers| numbers[0]);
        match verb {
            "propose" => {
                let (id, data) = rest.split_once(' ').ok_or("propose ID TEXT")?;
                let data = match data.strip_prefix("bytes=") {
                    Some(count) => vec![b'x'; number(count)? as usize],
                    None => data.as_bytes().to_vec(),
                };
                let id = ProposalId(number(id)?);
                role.handle(Input::Propose { id, data });
            }
            "read" => role.handle(Input::Read { id: ReadId(number(rest)?) }),
            "persisted" => role.handle(Input::Persisted { number: number(rest)? }),
            "applied" => role.handle(Input::Applied { index: Index(number(rest)?) }),
            "turn" | "blocked" => {
                // `blocked`: WalWriter has no room.
                let effects = role.end_turn(verb == "turn");
                let quiet = effects.is_empty().then(|| "nothing".to_owned());
                return Ok(effects.iter().map(line).chain(quiet).collect());
            }
            "tick" => {
                let mut told = Vec::new();
                for tick in 1..=number(rest)? {
                    role.handle(Input::Tick);
                    let effects = role.end_turn(true);
                    told.extend(
                        effects.iter().map(|effect| format!("tick {tick}: {}", line(effect))),
                    );
                }
                let quiet = told.is_empty().then(|| "nothing".to_owned());
                return Ok(told.into_iter().chain(quiet).collect());
            }
            "state" => {
                let leader = role.leader().map_or("nobody".to_owned(), |id| id.0.to_string());
                let (term, commit) = (role.term(), role.commit());
                return Ok(vec![format!("term {term}, commit {commit}, {leader} leads")]);
            }
            _ => return Err("no such command".to_owned()),
        }
        Ok(Vec::new())
    }
}
