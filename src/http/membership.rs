//! Changing who is in the cluster, for both doors: what could do harm is refused here, what is not valid
//! too, and the rest goes through the log. The doors give the words.

use std::{fmt::Display, time::Duration};

use super::Doors;
use crate::{
    clock::wall_clock,
    command::{Command, MemberChange},
    identity,
    storage::mvcc::{
        Applied, MemberError,
        reconfig::{Answers, Seen, Unsafe},
    },
};

/// How long a member must have answered to count as healthy.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal<E: Display> {
    /// It is not valid.
    #[error("{0}")]
    Invalid(MemberError),
    /// It could cost the quorum.
    #[error("{0}")]
    Unsafe(Unsafe),
    /// It did not get through the log.
    #[error("{0}")]
    Log(E),
}

/// Has a change applied.
pub async fn change<E: Display>(
    doors: &Doors,
    change: MemberChange,
    read_index: impl AsyncFnOnce() -> Result<(), E>,
    propose: impl AsyncFnOnce(Command) -> Result<Applied, E>,
) -> Result<(), Refusal<E>> {
    let told = change.clone();
    let changed = async {
        is_wise(doors, &change)?;
        is_valid(doors, &change, read_index).await?;
        let change = change.limited(doors.settings.max_learners as u64);
        match propose(Command::Members(change)).await.map_err(Refusal::Log)? {
            Applied::Members(result) => result.map_err(Refusal::Invalid),
            applied => unreachable!("a change of members is answered as one, not by {applied:?}"),
        }
    };
    let changed = changed.await;
    if let Err(why) = &changed {
        tracing::warn!(%why, change = ?told, "the membership was not changed");
    }
    changed
}

/// The change that adds a member, with an id that was never used.
pub fn addition(peer_urls: Vec<String>, learner: bool) -> MemberChange {
    let seconds = wall_clock().0 / 1_000_000_000;
    let id = identity::added_member_id(&peer_urls, seconds);
    MemberChange::Add { id, peer_urls, learner, learners_max: None }
}

/// What could do harm is refused by what this member sees now, as etcd does.
fn is_wise<E: Display>(doors: &Doors, change: &MemberChange) -> Result<(), Refusal<E>> {
    let state = doors.published.state.load();
    let membership = state.membership();
    if doors.settings.strict_reconfig_check {
        let (own, peers) = (doors.published.identity.member_id, doors.published.peers.load());
        let steady_since = wall_clock().0.saturating_sub(HEALTHY_AFTER.as_nanos() as u64);
        let answers = |id| match peers.get(&id).and_then(|peer| peer.active_since()) {
            None => Answers::No,
            Some(since) if since < steady_since => Answers::Steadily,
            Some(_) => Answers::Lately,
        };
        let seen = Seen { membership, own, answers };
        let safe = match change {
            MemberChange::Add { learner, .. } => seen.may_add(*learner),
            MemberChange::Remove { id } => seen.may_remove(*id),
            MemberChange::Promote { .. } => seen.may_promote(),
            MemberChange::Update { .. } => Ok(()),
        };
        safe.map_err(Refusal::Unsafe)?;
    }
    let learners = membership.learners().count();
    match change {
        MemberChange::Add { learner: true, .. } if learners >= doors.settings.max_learners => {
            Err(Refusal::Invalid(MemberError::TooManyLearners))
        }
        _ => Ok(()),
    }
}

/// What is not valid would be refused when it is applied: nothing of that need go through the log. But
/// this member may be behind, so it looks twice. A change that is under way may yet make a valid one
/// invalid.
async fn is_valid<E: Display>(
    doors: &Doors,
    change: &MemberChange,
    read_index: impl AsyncFnOnce() -> Result<(), E>,
) -> Result<(), Refusal<E>> {
    let check = || doors.published.state.load().membership().check(change);
    if check().is_err() {
        read_index().await.map_err(Refusal::Log)?;
    }
    check().map_err(Refusal::Invalid)
}

/// The peer URLs of a new member as they are kept: trimmed and sorted. Or what is wrong with them, in
/// etcd's words.
pub fn peer_urls(given: &[String]) -> Result<Vec<String>, String> {
    if given.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    let mut urls = Vec::with_capacity(given.len());
    for url in given {
        let url = url.trim();
        check_url(url)?;
        urls.push(url.to_owned());
    }
    urls.sort_unstable();
    Ok(urls)
}

fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme {
        "http" | "https" => {}
        "unix" | "unixs" => return Ok(()),
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let port_at = host.rfind(':').filter(|&at| !host[at..].contains(']'));
    if port_at.is_none() {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    if rest[end..].starts_with('/') {
        return Err(format!("URL must not contain a path: {url}"));
    }
    Ok(())
}
